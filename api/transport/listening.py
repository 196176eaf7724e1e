"""Sockets to listen on: one for each address that a host stands for, all on one port."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Final

from msgspec import Struct

from api.transport.limits import BACKLOG_CONNECTIONS
from core.errors import ServerError
from core.hosts import LOCAL_NAMES, LOOPBACK

PORT_OPTION: Final = "--port"
OLLAMA_OPTION: Final = "--ollama-port"
PORT_TRIES: Final = 16
"""Free ports that are looked at until one is free on every address."""
ABSENT: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})
"""Error numbers of binding an address that this machine does not have, such as an IPv6 address without IPv6."""


def open_sockets(host: str, port: int, option: str = PORT_OPTION) -> list[socket.socket]:
    """Listening sockets, one at least, all on the same port; 0 takes one that is free on every address. `option` is
    what sets the port.

    Raises ServerError, which names the mend, when the address cannot be had.
    """
    addresses = _addresses(host)
    for tries in range(PORT_TRIES, 0, -1):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE and port == 0 and tries > 1
            if not taken:
                raise ServerError(_explain_failure(host, port, error, option)) from error
    raise AssertionError("the last try returns or raises")


class ServerSockets(Struct, frozen=True):
    """All that a server listens on. Each list has a socket for each address that the host stands for."""

    main: list[socket.socket] = []
    ollama: list[socket.socket] = []
    """On the port where Ollama's clients look; none where the server has no such port."""

    @property
    def all(self) -> list[socket.socket]:
        return [*self.main, *self.ollama]

    def close(self) -> None:
        for each in self.all:
            each.close()


def open_server_sockets(host: str, port: int, ollama_port: int | None) -> ServerSockets:
    """Raises as `open_sockets`, with no socket left open."""
    opened = ServerSockets(open_sockets(host, port))
    try:
        ollama = [] if ollama_port is None else open_sockets(host, ollama_port, OLLAMA_OPTION)
    except ServerError:
        opened.close()
        raise
    return ServerSockets(opened.main, ollama)


def read_port(sockets: Sequence[socket.socket]) -> int | None:
    """The port that is bound; None where nothing is."""
    return int(sockets[0].getsockname()[1]) if sockets else None


def adopt_sockets(descriptors: Iterable[int]) -> list[socket.socket]:
    """Use sockets that listen already; the process that opened them keeps them open."""
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for each in sockets:
        each.setblocking(False)
    return sockets


def _addresses(host: str) -> list[str]:
    """What a host stands for, without doubles; `localhost` is this machine alone, whatever a resolver says."""
    if host == "*":
        return ["::", "0.0.0.0"]  # noqa: S104 - as it was asked for
    if host.lower() in LOCAL_NAMES:
        return list(LOOPBACK)
    try:
        found = socket.getaddrinfo(host or LOOPBACK[0], None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, ValueError) as error:
        raise ServerError(f"The host {host!r} is no address of this machine; choose another with --host.") from error
    return list(dict.fromkeys(_write_address(address) for *_, address in found))


def _write_address(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    """With its zone, which `getaddrinfo` tells as a number beside it."""
    host = str(address[0])
    zone = address[3] if len(address) > 3 else 0
    return f"{host}%{zone}" if zone and "%" not in host else host


def _bind_all(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Raises OSError where one cannot be bound; those that this machine does not have are left out, unless all are."""
    absent: OSError | None = None
    with ExitStack() as stack:
        bound: list[socket.socket] = []
        everywhere = False
        for address in addresses:
            if everywhere:
                break
            try:
                made = stack.enter_context(_bind(address, bound[0].getsockname()[1] if bound else port))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
                continue
            bound.append(made)
            # A socket of both versions holds the port of version 4 as well.
            everywhere = address == "::"
        if not bound:
            raise absent or OSError(errno.EADDRNOTAVAIL, "no address")
        stack.pop_all()
        return bound


def _bind(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, resolved = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        # On Windows the same option would let two programs share a port.
        if sys.platform != "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        bound.bind(resolved)
        bound.listen(BACKLOG_CONNECTIONS)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _explain_failure(host: str, port: int, error: OSError, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        other = "another program, perhaps Ollama itself" if option == OLLAMA_OPTION else "another program"
        return f"Port {port} on {host} is in use by {other}; choose another with {option} (0 takes a free one)."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} on {host} may not be bound by this user; choose one above 1023 with {option}."
    if error.errno in ABSENT:
        return f"The host {host!r} is no address of this machine; choose another with --host."
    return f"Port {port} on {host} cannot be bound: {error.strerror}; choose another with --host or {option}."
