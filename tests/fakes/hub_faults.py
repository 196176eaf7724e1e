"""What goes wrong at the Hub on loopback, and what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Query = Mapping[str, list[str]]


@dataclass
class Fault:
    """Something that goes wrong with the requests whose path fits `where`."""

    where: str = "*"
    """A pattern as in a shell, of the path without its query; the CDN's are `/cdn/OWNER/NAME/PATH`."""
    method: str | None = None
    times: int | None = 1
    """How often; None: until it is taken off the list."""
    status: int | None = None
    """Answer with this instead."""
    code: str | None = None
    """`X-Error-Code` of that answer."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to the answer, whatever it is; an empty value takes a header away."""
    redirect: str | None = None
    drop_after: int | None = None
    """Cut the connection after this many bytes of the body."""
    stall_after: int | None = None
    """Send nothing more after this many bytes of the body, and keep the connection open."""
    shorten_to: int | None = None
    """End the body early and properly, as though the file had only this many bytes left."""
    corrupt: bool = False
    """Turn over the first byte of the body."""
    ignore_range: bool = False
    """Answer 200 with the whole file although a part was asked for."""
    delay: float = 0.0
    """Seconds before the answer begins."""
    rate: float | None = None
    """Bytes a second at which the body is sent."""


@dataclass
class SeenRequest:
    """A request as it came in, and what was sent for it."""

    method: str
    path: str
    """Unquoted, without the query."""
    query: Query
    headers: Mapping[str, str]
    """Names in lower case."""
    cdn: bool
    status: int = 0
    sent: int = 0
    """Bytes of the body."""
