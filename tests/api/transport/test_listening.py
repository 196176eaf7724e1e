"""The addresses and the port that a server listens on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from api.transport.listening import open_sockets
from core.errors import ServerError


def _has_version_6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


version_6 = pytest.mark.skipif(not _has_version_6(), reason="this machine has no addresses of version 6")


@contextmanager
def listening(host: str, port: int = 0) -> Iterator[list[tuple[str, int]]]:
    """The addresses and ports that are bound."""
    sockets = open_sockets(host, port)
    try:
        yield [each.getsockname()[:2] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def reaches(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@version_6
@pytest.mark.parametrize("name", ["localhost", "LocalHost"])
def test_localhost_is_both_versions_on_one_free_port(name: str) -> None:
    with listening(name) as bound:
        assert [host for host, _ in bound] == ["127.0.0.1", "::1"]
        (port,) = {port for _, port in bound}
        assert reaches("127.0.0.1", port)
        assert reaches("::1", port)


@version_6
def test_a_port_that_is_taken_in_one_version_is_in_use() -> None:
    with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"Port {port} on localhost is in use"):
            open_sockets("localhost", port)
        assert not reaches("127.0.0.1", port)


@version_6
@pytest.mark.parametrize("host", ["::", "*"])
def test_all_addresses_are_those_of_both_versions(host: str) -> None:
    with listening(host) as bound:
        (port,) = {port for _, port in bound}
        assert reaches("127.0.0.1", port)
        assert reaches("::1", port)


def test_one_address_is_that_alone() -> None:
    with listening("127.0.0.1") as bound:
        assert [host for host, _ in bound] == ["127.0.0.1"]
    with listening("") as bound:
        assert [host for host, _ in bound] == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "2001:db8::7", "fe80::1%nosuchzone", "a\0b"])
def test_what_this_machine_does_not_have_is_told(host: str) -> None:
    with pytest.raises(ServerError, match=r"is no address of this machine; choose another with --host\."):
        open_sockets(host, 0)
