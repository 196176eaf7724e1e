"""Whether a client that has sent its last byte still listens: half a close and a whole one look alike on the wire."""

from __future__ import annotations

import select
import socket
import sys
from enum import Enum
from pathlib import Path

Address = tuple[str, int]

_FAR_ENDS = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_MAPPED = "0000000000000000FFFF0000"
"""How Linux writes what stands before an address of version 4 in one of version 6."""
_GONE = select.POLLERR | select.POLLHUP if hasattr(select, "poll") else 0
_ENDED = getattr(select, "POLLRDHUP", 0)


class FarEnd(Enum):
    LISTENS = "listens"
    LEFT = "left"
    UNKNOWN = "unknown"
    """It is not a program of this machine, or the system does not tell."""


def is_reset(descriptor: int) -> bool:
    """Whether the connection is broken, as it is when something was sent to a client that had left."""
    return bool(_events(descriptor, 0) & _GONE)


def has_ended(descriptor: int) -> bool:
    """Whether the client has sent its last byte, though what came before it may not be read yet. Linux alone tells."""
    return bool(_events(descriptor, _ENDED) & (_ENDED | _GONE))


def _events(descriptor: int, wanted: int) -> int:
    if not _GONE or descriptor < 0:
        return 0
    poll = select.poll()
    poll.register(descriptor, wanted)
    return sum(events for _, events in poll.poll(0)) & ~getattr(select, "POLLNVAL", 0)


def find_far_end(ours: Address, theirs: Address) -> FarEnd:
    """What the system knows of the other end of a connection whose client has sent its last byte.

    Linux lists the connections of all programs of this machine, the other ends of those on loopback among them; one
    that no program holds any more has no inode (Documentation/networking/proc_net_tcp.rst in its sources).
    """
    if not sys.platform.startswith("linux"):
        return FarEnd.UNKNOWN
    near, far = _write_address(ours), _write_address(theirs)
    try:
        for table in _FAR_ENDS:
            if table.exists():
                text = table.read_text("ascii", "replace")
                for prefix in ("", _MAPPED) if len(far) == len("00000000:0000") else ("",):
                    if (line := _find_columns(text, f" {prefix}{far} {prefix}{near} ")) is not None:
                        return FarEnd.LEFT if line[-1] == "0" else FarEnd.LISTENS
    except OSError:
        return FarEnd.UNKNOWN
    return FarEnd.UNKNOWN


def _find_columns(text: str, pair: str) -> list[str] | None:
    """The columns up to the inode of the line that has this pair of addresses."""
    at = text.find(pair)
    if at < 0:
        return None
    columns = text[at + len(pair) : at + len(pair) + 200].partition("\n")[0].split()
    # st, the queues, the timer, retransmissions, uid, time-out, inode
    return columns[:7] if len(columns) >= 7 else None


def _write_address(address: Address) -> str:
    """As Linux writes it: words of 32 bits in the order of this machine."""
    host, port = address[0].partition("%")[0], address[1]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    words = (packed[i : i + 4] for i in range(0, len(packed), 4))
    text = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    if len(packed) == 16 and packed.startswith(b"\0" * 10 + b"\xff\xff"):
        text = text[-8:]
    return f"{text}:{port:04X}"
