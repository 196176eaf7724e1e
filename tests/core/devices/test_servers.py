"""RPC servers: their addresses, and their devices among those of this machine."""

from __future__ import annotations

import os

import pytest

from core.devices.device import Backend, DeviceKind
from core.devices.library import LlamaLibrary
from core.devices.servers import read_endpoint
from tests.fakes.rpc import find_rpc_folder, run_rpc_server


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("10.0.0.2:50052", "10.0.0.2", 50052), ("box", "box", 50052), (" [::1]:7 ", "[::1]", 7)],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert read_endpoint(text) == (host, port)


@pytest.mark.parametrize("text", ["", ":50052", "box:", "box:x", "box:0", "box:65536", "b\nox:1"])
def test_what_is_no_address_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no address of an RPC server; write HOST:PORT\.$"):
        read_endpoint(text)


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
