"""Devices of RPC servers are among those of this machine."""

from __future__ import annotations

import os
import socket

from core.devices.device import Backend, DeviceKind
from core.devices.library import LlamaLibrary
from core.devices.servers import explain_loss, list_lost
from tests.fakes.rpc import find_rpc_folder, run_rpc_server


def test_devices_of_servers_are_listed_and_one_that_is_not_there_is_told() -> None:
    library = LlamaLibrary(find_rpc_folder(), os.environ)
    with run_rpc_server(find_rpc_folder()) as endpoint:
        library.servers = (endpoint, "127.0.0.1:1")
        view = library.look()
    (device,) = view.devices
    assert (device.id, device.kind, device.backend) == (f"RPC0[{endpoint}]", DeviceKind.REMOTE, Backend.RPC)
    assert 0 < device.free <= device.total
    (lost,) = view.lost
    assert lost.startswith("The RPC server 127.0.0.1:1 does not answer (Connection refused);")


def test_of_several_servers_the_one_that_was_lost_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        alive = f"127.0.0.1:{there.getsockname()[1]}"
        assert list_lost((alive, "127.0.0.1:1")) == ("127.0.0.1:1",)
        assert explain_loss((alive, "127.0.0.1:1")) == (
            "llama.cpp failed for want of the RPC server 127.0.0.1:1, which does not answer any more, and ends the "
            "whole process then; see to it that `ggml-rpc-server -H ADDRESS -p 1` runs there, or leave out --rpc."
        )
        assert f"the RPC server {alive}, which broke off, and" in explain_loss((alive,))
