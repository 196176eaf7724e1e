"""The header of a GGUF file, from as few of its bytes as possible.

The format is that of ggml's `docs/gguf.md`, versions 2 and 3, little-endian: magic, version, counts of tensors and of
key-value pairs, the pairs, then each tensor's name, shape, type and place. The `gguf` package reads files on disk
only, so this reads what has been fetched of one elsewhere. Every count and length is bounded before it is believed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from core.models.formats.source import ByteSource, Cursor, Damaged

Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...]

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
MOST_PAIRS: Final = 65_536
MOST_TENSORS: Final = 131_072
MOST_ELEMENTS: Final = 4_194_304
"""Of an array; the largest vocabularies have some 300,000 words and twice as many merges."""
KEPT_ELEMENTS: Final = 4_096
"""Elements up to which an array of numbers is kept: there are arrays with an element for each layer."""
MOST_KEY_BYTES: Final = 65_535
"""Bytes, as the format says."""
MOST_TEXT_BYTES: Final = 4 << 20
MOST_NAME_BYTES: Final = 1_024
MOST_DIMENSIONS: Final = 4
MOST_DIMENSION_ELEMENTS: Final = 1 << 40
ALIGNMENT_BYTES: Final = 32
TEXT, ARRAY = 8, 9
"""Numbers of value types; the others are of fixed width, below."""
NUMBERS: Final[Mapping[int, struct.Struct]] = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")
COUNTS: Final = struct.Struct("<QQ")
KIND_AND_OFFSET: Final = struct.Struct("<IQ")
"""A tensor's type, and where its weights begin after the header."""


class Tensor(Struct, frozen=True):
    name: str
    elements: int
    bytes: int
    type: str
    """ggml's name for it."""


class GgufHeader(Struct, frozen=True):
    """The pairs and the tensors of one file; of an array too long to keep, only its length."""

    pairs: Mapping[str, Value]
    lengths: Mapping[str, int]
    """Elements of every array."""
    tensors: tuple[Tensor, ...]
    length: int
    """Bytes before the weights."""


def read_gguf(source: ByteSource) -> GgufHeader:
    """Raises Damaged for anything that is not as the format says, and what `source.read` raises."""
    cursor = Cursor(source)
    if source.size < 24 or cursor.take(4) != MAGIC:
        raise Damaged("it does not begin as a GGUF file does")
    (version,) = cursor.unpack(U32)
    check_version(version)
    tensors, pairs = cursor.unpack(COUNTS)
    # The smallest pair takes 13 bytes, the smallest tensor 24; so a wrong count is found out before it costs time.
    if tensors > MOST_TENSORS or pairs > MOST_PAIRS or pairs * 13 + tensors * 24 > cursor.left:
        raise Damaged(f"its header claims {tensors} tensors and {pairs} values")
    found: dict[str, Value] = {}
    lengths: dict[str, int] = {}
    for _ in range(pairs):
        _pair(cursor, found, lengths)
    directory, ends = _directory(cursor, tensors)
    alignment = found.get("general.alignment", ALIGNMENT_BYTES)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise Damaged(f"its weights are aligned to {alignment}")
    length = -(-cursor.position // alignment) * alignment
    if ends > max(0, source.size - length):
        raise Damaged("it ends before its weights do")
    return GgufHeader(found, lengths, directory, length)


def check_version(version: int) -> None:
    """Raises Damaged for one that is not known here."""
    if version not in VERSIONS:
        raise Damaged(f"its GGUF version {version} is unknown (versions {VERSIONS[0]} and {VERSIONS[1]} are)")


def _pair(cursor: Cursor, found: dict[str, Value], lengths: dict[str, int]) -> None:
    key = _text(cursor, MOST_KEY_BYTES)
    (kind,) = cursor.unpack(U32)
    if kind != ARRAY:
        found[key] = _scalar(cursor, kind)
        return
    (kind,) = cursor.unpack(U32)
    (count,) = cursor.unpack(U64)
    if kind != TEXT and kind not in NUMBERS:
        raise Damaged(f"the array {_shown(key)} in its header holds values of the unknown kind {kind}")
    size = 8 if kind == TEXT else NUMBERS[kind].size
    if count > MOST_ELEMENTS or count * size > cursor.left:
        raise Damaged(f"the array {_shown(key)} in its header claims {count} values")
    lengths[key] = count
    if kind == TEXT:
        cursor.skip_texts(count, MOST_TEXT_BYTES)
    elif count > KEPT_ELEMENTS:
        cursor.skip(count * size)
    else:
        found[key] = struct.unpack(f"<{count}{NUMBERS[kind].format[1:]}", cursor.take(count * size))


def _scalar(cursor: Cursor, kind: int) -> Scalar:
    if kind == TEXT:
        return _text(cursor, MOST_TEXT_BYTES)
    if kind not in NUMBERS:
        raise Damaged(f"a value in its header is of the unknown kind {kind}")
    return cursor.unpack(NUMBERS[kind])[0]


def _directory(cursor: Cursor, count: int) -> tuple[tuple[Tensor, ...], int]:
    """The tensors, and where the last of them ends, counted from the first weight."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    blocks = {kind.value: (kind.name, *GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType}
    found, end = [], 0
    for _ in range(count):
        name = _text(cursor, MOST_NAME_BYTES)
        (dimensions,) = cursor.unpack(U32)
        if dimensions > MOST_DIMENSIONS:
            raise Damaged(f"the tensor {_shown(name)} claims {dimensions} dimensions")
        shape = cursor.unpack(struct.Struct(f"<{dimensions}Q"))
        kind, offset = cursor.unpack(KIND_AND_OFFSET)
        if any(not 0 < each < MOST_DIMENSION_ELEMENTS for each in shape):
            raise Damaged(f"the tensor {_shown(name)} claims a shape of {shape}")
        if kind not in blocks:
            raise Damaged(f"the tensor {_shown(name)} is of the unknown type {kind}")
        label, block, block_bytes = blocks[kind]
        elements = math.prod(shape)
        size = -(-elements // block) * block_bytes
        found.append(Tensor(name, elements, size, label))
        end = max(end, offset + size)
    return tuple(found), end


def _text(cursor: Cursor, longest: int) -> str:
    (length,) = cursor.unpack(U64)
    if length > longest:
        raise Damaged(f"a text in its header claims {length} bytes")
    return cursor.take(length).decode("utf-8", "replace")


def _shown(text: str) -> str:
    return repr(text[:64])
