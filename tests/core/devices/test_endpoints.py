"""How RPC servers are called."""

from __future__ import annotations

import pytest

from core.devices.endpoints import format_endpoint, read_endpoint


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


@pytest.mark.parametrize(("text", "written"), [("box", "box:50052"), (" box:7 ", "box:7"), ("[::1]:7", "[::1]:7")])
def test_devices_have_the_port_in_their_ids_also_where_none_was_written(text: str, written: str) -> None:
    assert format_endpoint(text) == written
