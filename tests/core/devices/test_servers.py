"""Devices of RPC servers are among those of this machine."""

from __future__ import annotations

import os

from core.devices.device import Backend, DeviceKind
from core.devices.library import LlamaLibrary
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
