"""ggml whisper files: their header and their table of contents.

The format is that of whisper.cpp's `models/convert-pt-to-ggml.py`: a magic number, eleven counts, the mel filters, the
vocabulary, then the tensors one after another. All integers are little-endian and 32 bits wide.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import Struct
from msgspec.structs import replace

from core.models.catalog import Task
from core.models.formats.format import Format
from core.models.formats.header import Header
from core.models.formats.listing import FileListing, Group
from core.models.formats.source import Damaged, Files

MAGIC: Final = b"lmgg"
"""0x67676d6c, little-endian."""
COUNTS: Final = {
    "n_vocab": (51864, 60_000),
    "n_audio_ctx": (1, 1500),
    "n_audio_state": (1, 8192),
    "n_audio_head": (1, 256),
    "n_audio_layer": (1, 256),
    "n_text_ctx": (8, 8192),
    "n_text_state": (1, 8192),
    "n_text_head": (1, 256),
    "n_text_layer": (1, 256),
    "n_mels": (1, 512),
    "ftype": (0, 9999),
}
"""The counts that follow the magic, each with the range that makes sense; other old ggml models fall outside."""
HEADER_BYTES: Final = 4 + 4 * len(COUNTS)
FILE_NAME: Final = re.compile(r"ggml-(?!.*encoder)(.+)\.bin$")
BLOCKS: Final = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    30: (1, 2),
}
"""ggml's number of a type: elements of a block, and its bytes (ggml.c, `type_traits`)."""
QUANTIZATIONS: Final = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
}
"""ggml's file types; thousands of the number count versions of the quantization."""
MOST_NAME_BYTES: Final = 256
"""Bytes of a tensor's name or of a word."""


class WhisperHeader(Struct, frozen=True):
    """The eleven counts, by whisper.cpp's names, and what the rest of the file adds up to."""

    n_vocab: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int
    n_mels: int
    ftype: int
    parameters: int = 0
    weight_bytes: int = 0

    @property
    def multilingual(self) -> bool:
        return self.n_vocab >= 51865

    @property
    def quantization(self) -> str:
        return QUANTIZATIONS.get(self.ftype % 1000, f"type {self.ftype}")


class WhisperFormat(Format):
    """What whisper.cpp loads: each file is a model."""

    name = "ggml-whisper"
    label = "whisper"
    task = Task.SPEECH
    patterns = ("ggml-*.bin",)
    checked_ending = ".bin"

    def is_file(self, head: bytes) -> bool:
        return head[:4] == MAGIC and read_counts(head) is not None

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        for path in listing.sizes:
            if found := FILE_NAME.fullmatch(path):
                yield Group((found[1], f"whisper-{found[1]}"), (path,))

    def locate_model(self, folder: Path, files: Sequence[str], *, several: bool) -> Path:
        return folder / files[0]

    def read_header(self, name: str, files: Files) -> Header:
        path, size = next(iter(files.sizes.items()))
        told = read_counts(files.open(path).read(0, HEADER_BYTES))
        return Header(
            format=self.name,
            architecture="whisper",
            name=name,
            quantization=told.quantization,
            parameters=0,
            weight_bytes=size,
            layers=(),
            trained_context=told.n_text_ctx,
            width=told.n_text_state,
            heads=told.n_text_head,
            vocabulary=told.n_vocab,
            notes=("What decoding speech takes beside the weights is not counted.",),
        )


def read_counts(head: bytes) -> WhisperHeader:
    """The eleven counts at a file's beginning. Raises Damaged for those of another old ggml model."""
    if head[:4] != MAGIC:
        raise Damaged("it does not begin as a ggml file does")
    if len(head) < HEADER_BYTES:
        raise Damaged("it ends within its header")
    counts = struct.unpack_from(f"<{len(COUNTS)}i", head, 4)
    for (name, (least, most)), value in zip(COUNTS.items(), counts, strict=True):
        if not least <= value <= most:
            raise Damaged(f"it is a ggml file but no whisper model, with a {name} of {value}")
    return WhisperHeader(*counts)


def walk_file(path: Path) -> WhisperHeader:
    """Walk the whole file without reading its weights. Raises Damaged where anything is not as it should be, OSError.

    whisper.cpp trusts what it reads: a wrong count would have it allocate or overrun, and end the process.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = read_counts(file.read(HEADER_BYTES))
        _check(header)
        _skip_filters(file, header, size)
        _skip_vocabulary(file, header)
        parameters = weight_bytes = 0
        while file.tell() < size:
            elements, length = _skip_tensor(file, size)
            parameters += elements
            weight_bytes += length
    if not parameters:
        raise Damaged("it ends before its weights")
    return replace(header, parameters=parameters, weight_bytes=weight_bytes)


def _check(header: WhisperHeader) -> None:
    if header.n_audio_state % max(1, header.n_audio_head) or header.n_text_state % max(1, header.n_text_head):
        raise Damaged("its width is not a multiple of its attention heads")


def _skip_filters(file: BinaryIO, header: WhisperHeader, size: int) -> None:
    mels, bins = _integers(file, 2)
    if mels != header.n_mels or bins != 201:
        raise Damaged(f"its mel filters are {mels} by {bins}, where {header.n_mels} by 201 belong")
    _skip(file, mels * bins * 4, size)


def _skip_vocabulary(file: BinaryIO, header: WhisperHeader) -> None:
    (words,) = _integers(file, 1)
    if not 0 < words <= header.n_vocab:
        raise Damaged(f"its vocabulary claims {words} words")
    for _ in range(words):
        (length,) = _integers(file, 1)
        if not 0 <= length <= MOST_NAME_BYTES:
            raise Damaged(f"a word of its vocabulary claims {length} bytes")
        _exactly(file, length)


def _skip_tensor(file: BinaryIO, size: int) -> tuple[int, int]:
    """The tensor's elements and bytes."""
    dimensions, name_length, kind = _integers(file, 3)
    if not 1 <= dimensions <= 4 or not 0 < name_length <= MOST_NAME_BYTES or kind not in BLOCKS:
        raise Damaged(f"a tensor's record at byte {file.tell() - 12} makes no sense")
    shape = _integers(file, dimensions)
    # whisper.cpp's log passes names on as text, and what is none would end the process.
    if not _exactly(file, name_length).isascii() or any(not 0 < each < 1 << 24 for each in shape):
        raise Damaged(f"a tensor's record before byte {file.tell()} makes no sense")
    elements = math.prod(shape)
    block, block_bytes = BLOCKS[kind]
    if shape[0] % block:
        raise Damaged("a tensor's rows are no multiple of its quantization's blocks")
    length = elements // block * block_bytes
    _skip(file, length, size)
    return elements, length


def _skip(file: BinaryIO, length: int, size: int) -> None:
    if file.tell() + length > size:
        raise Damaged("it ends within its weights")
    file.seek(length, 1)


def _integers(file: BinaryIO, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", _exactly(file, count * 4))


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise Damaged("it ends too early")
    return data
