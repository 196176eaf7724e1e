"""The table of contents of a safetensors file: eight bytes of length, little-endian, and that many of JSON.

The format is that of the safetensors library's README, which also sets the bound on the length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from core.models.formats.source import U64, ByteSource, Damaged

MOST_TABLE_BYTES: Final = 100_000_000
"""Bytes of the table that the library itself takes."""
MOST_READ_BYTES: Final = 64 << 20
"""Bytes that are read of it here."""


class SafeTensor(Struct, frozen=True):
    dtype: str
    shape: tuple[Annotated[int, Meta(ge=0, lt=1 << 40)], ...]
    data_offsets: tuple[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return max(0, self.data_offsets[1] - self.data_offsets[0])


def read_safetensors(source: ByteSource) -> Mapping[str, SafeTensor]:
    """The tensors by name. Raises Damaged, and what `source.read` raises."""
    head = source.read(0, 1 << 16)
    if len(head) < 8:
        raise Damaged("it ends within its header")
    (length,) = U64.unpack_from(head)
    if length > min(MOST_TABLE_BYTES, MOST_READ_BYTES) or 8 + length > source.size:
        raise Damaged(f"its table of contents claims {length} bytes")
    table = head[8 : 8 + length]
    if len(table) < length:
        table += source.read(8 + len(table), length - len(table))
    try:
        entries = msgspec.json.decode(table, type=dict[str, msgspec.Raw])
        tensors = {
            name: msgspec.json.decode(entry, type=SafeTensor)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Damaged(f"its table of contents is damaged ({error})") from error
    if 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0) > source.size:
        raise Damaged("it ends before its weights do")
    return tensors
