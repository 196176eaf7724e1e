"""Addresses to listen on: what may be written for one, and which of them are this machine's alone. Pure."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "::1")
LOCAL_NAMES: Final = frozenset({"localhost", "localhost."})
"""RFC 6761, section 6.3: names of this machine, whatever a resolver says. Those below `localhost` are left out, since
resolvers ask servers elsewhere for them."""
EVERYWHERE: Final = frozenset({"*", "0.0.0.0", "::"})  # noqa: S104 - binds nothing

_NAME = re.compile(r"(?!-)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_WITH_PORT = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*):(?P<port>[0-9]*)")


def is_loopback(host: str) -> bool:
    """Whether an address, as text with or without brackets, can be reached from this machine alone.

    A name is only where it is this machine's by definition: what another one leads to is for a resolver to say, and
    may be something else the next time.
    """
    if host.lower() in LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(_without_brackets(host))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def parse_host(text: str) -> str:
    """A host to listen on, as it was written in a setting: an address without its brackets, a name, or `*` for all.

    Raises ValueError: a sentence about what was written instead.
    """
    host = text.strip()
    if not host:
        raise ValueError("it is empty; write an address such as 127.0.0.1, or leave it out")
    if "://" in host or "/" in host:
        meant = _named_by(host.partition("://")[2] or host)
        raise ValueError(f"{host!r} is a URL; write the address alone{meant}")
    bare = _without_brackets(host)
    if host in EVERYWHERE or _is_address(bare):
        return bare
    if _WITH_PORT.fullmatch(host):
        said = f"{host!r} holds a port, which is a setting of its own; write the address alone"
        raise ValueError(f"{said}{_named_by(host)}")
    if not _may_be_name(host):
        raise ValueError(f"{host!r} is neither an address nor a machine's name; write one such as 127.0.0.1 or ::1")
    return host


def quote_host(host: str) -> str:
    """An address or a name as it stands in a URL: version 6 in brackets, and its zone quoted (RFC 6874)."""
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def find_reachable(host: str) -> str:
    """An address at which this machine reaches what listens on `host`."""
    return {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def _without_brackets(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _may_be_name(host: str) -> bool:
    try:
        return bool(_NAME.fullmatch(host.encode("idna").decode("ascii")))
    except UnicodeError:
        return False


def _named_by(written: str) -> str:
    """`, localhost` for `localhost:8080/v1`, and how the port is given; nothing where no host can be made out."""
    found = _WITH_PORT.fullmatch(written.partition("/")[0])
    host, port = (found["host"], found["port"]) if found else (written.partition("/")[0], "")
    if not (_may_be_name(host) or _is_address(_without_brackets(host))):
        return ""
    return f", {host}{f', and --port {port}' if port else ''}"
