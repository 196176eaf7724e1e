"""How many values a body has, told from its bytes: to make objects of it cannot be interrupted, and holds up everybody.

Commas and brackets within texts are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

STRIDE_BYTES: Final = 64 * 1024
"""Bytes that are looked at at once, during which no other thread runs."""
_UNESCAPING: Final = re.compile(rb"[^\\]")


class ValueCount(Struct, frozen=True):
    commas: int
    containers: int
    """Objects and lists."""


def count_values(raw: bytes) -> ValueCount:
    commas = containers = 0
    for part in _list_outside(raw):
        commas += part.count(b",")
        containers += part.count(b"[") + part.count(b"{")
    return ValueCount(commas, containers)


def bound_values(raw: bytes) -> ValueCount:
    """What there may be at most, quickly: what stands in texts counts, too."""
    return ValueCount(raw.count(b","), raw.count(b"[") + raw.count(b"{"))


def _list_outside(raw: bytes) -> Iterator[bytes]:
    """What stands outside of texts, stride by stride. Linear, also for a text without an end."""
    inside = False
    at = 0
    while at < len(raw):
        # Never between a backslash and what it stands before.
        last = _UNESCAPING.search(raw, at + STRIDE_BYTES - 1)
        end = last.end() if last is not None else len(raw)
        parts = raw[at:end].replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        yield b"".join(parts[int(inside) :: 2])
        inside = inside is (len(parts) % 2 == 1)
        at = end
