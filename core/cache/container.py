"""The file of a stored prefix: a safetensors container, whose header tells all about it without a model.

The format (https://github.com/huggingface/safetensors#format) is eight bytes, little-endian, with the length of a JSON
header; the header; the tensors one behind the other. Here they are `tokens` (I32) and `state` (U8), what the engine
made of them. `__metadata__` holds the fields of `PrefixHeader`, and a checksum over these, the tokens and the state.
"""

from __future__ import annotations

import hashlib
import os
import struct
from array import array
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from core.cache.identity import ModelIdentity
from core.cache.prefix import Tokens
from core.files import write_atomically

FORMAT = "benchtop-prefix-2"
LENGTH = struct.Struct("<Q")
MOST_HEADER_BYTES = 1_048_576
TOKEN_BYTES = 4
DIGEST_BYTES = 32


class DamagedPrefix(Exception):
    """The file holds no prefix that can be used; the words say why."""


class PrefixHeader(Struct, frozen=True):
    """What is known of a stored prefix before its state is read."""

    identity: ModelIdentity
    owner: str
    model: str
    """The name that the model was served by, for people."""
    cuts: tuple[int, ...] | None
    """Lengths at which the model can cut the state, ascending, that of the whole at last; None: at any token."""
    outline: str = ""
    """Of the conversation that the tokens were rendered from, as `core.cache.recall` writes it."""


class _Tensor(Struct, frozen=True):
    dtype: str
    shape: tuple[int]
    data_offsets: tuple[int, int]


class _Metadata(Struct, frozen=True):
    format: str
    header: str
    checksum: str


class _Layout(Struct, frozen=True, forbid_unknown_fields=True):
    metadata: _Metadata = msgspec.field(name="__metadata__")
    tokens: _Tensor
    state: _Tensor


class PrefixFile(Struct, frozen=True):
    """A prefix as it lies in a file; the state follows at `offset`."""

    header: PrefixHeader
    tokens: Tokens
    state_bytes: int
    offset: int
    checksum: str


def write_prefix(path: Path, header: PrefixHeader, tokens: Tokens, state: bytes) -> None:
    """Write a file whole or not at all. Raises OSError."""
    ids = _little_endian(array("i", tokens))
    head = _head(header, len(tokens), len(state), _checksum(msgspec.json.encode(header), ids, state))
    write_atomically(path, LENGTH.pack(len(head)), head, ids, state)


def count_file_bytes(header: PrefixHeader, tokens: Tokens, state_bytes: int) -> int:
    """What `write_prefix` will write."""
    head = _head(header, len(tokens), state_bytes, "0" * (2 * DIGEST_BYTES))
    return LENGTH.size + len(head) + len(tokens) * TOKEN_BYTES + state_bytes


def read_stored(path: Path) -> PrefixFile:
    """All but the state. Raises DamagedPrefix, and OSError where the file cannot be read."""
    with path.open("rb") as file:
        return _read_stored(file)


def read_state(path: Path, header: PrefixHeader, tokens: Tokens) -> bytes:
    """The state behind `tokens`, checked. Raises DamagedPrefix, also where the file is another's; OSError."""
    with path.open("rb") as file:
        found = _read_stored(file)
        if found.header != header or found.tokens != tokens:
            raise DamagedPrefix("it holds another prefix than its index says")
        return _read_checked(file, found)


def verify_prefix(path: Path) -> PrefixFile:
    """Read and check the whole file. Raises DamagedPrefix; OSError."""
    with path.open("rb") as file:
        found = _read_stored(file)
        _read_checked(file, found)
        return found


def _read_stored(file: BinaryIO) -> PrefixFile:
    size = os.fstat(file.fileno()).st_size
    start = file.read(LENGTH.size)
    if len(start) < LENGTH.size:
        raise DamagedPrefix("it is cut short")
    (length,) = LENGTH.unpack(start)
    if length > min(size, MOST_HEADER_BYTES):
        raise DamagedPrefix("its header is no header of safetensors")
    head = file.read(length)
    try:
        layout = msgspec.json.decode(head, type=_Layout)
        header = msgspec.json.decode(layout.metadata.header, type=PrefixHeader)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DamagedPrefix("its header cannot be read, or is of another version") from error
    if layout.metadata.format != FORMAT:
        raise DamagedPrefix(f"it is a file of the format {layout.metadata.format[:40]!r}, not {FORMAT}")
    (count,), (state_bytes,) = layout.tokens.shape, layout.state.shape
    if count < 1 or state_bytes < 0 or head != _head(header, count, state_bytes, layout.metadata.checksum):
        raise DamagedPrefix("its header is not as it was written")
    offset = LENGTH.size + length + count * TOKEN_BYTES
    if size != offset + state_bytes:
        raise DamagedPrefix(f"it has {size} bytes, and should have {offset + state_bytes}")
    cuts = header.cuts
    if cuts is not None and (cuts != tuple(sorted(set(cuts))) or cuts[:1] < (1,) or cuts[-1:] != (count,)):
        raise DamagedPrefix("it is to be cut where it has no tokens")
    ids = array("i", file.read(count * TOKEN_BYTES))
    return PrefixFile(header, tuple(_native(ids)), state_bytes, offset, layout.metadata.checksum)


def _head(header: PrefixHeader, count: int, state_bytes: int, checksum: str) -> bytes:
    """The one way to write the header of a file with `count` tokens."""
    middle = count * TOKEN_BYTES
    layout = _Layout(
        metadata=_Metadata(FORMAT, msgspec.json.encode(header).decode(), checksum),
        tokens=_Tensor("I32", (count,), (0, middle)),
        state=_Tensor("U8", (state_bytes,), (middle, middle + state_bytes)),
    )
    head = msgspec.json.encode(layout)
    # The tensors begin at a multiple of eight, as safetensors' own writer has it.
    return head + b" " * (-len(head) % 8)


def _read_checked(file: BinaryIO, found: PrefixFile) -> bytes:
    file.seek(found.offset)
    state = file.read(found.state_bytes)
    ids = _little_endian(array("i", found.tokens))
    if _checksum(msgspec.json.encode(found.header), ids, state) != found.checksum:
        raise DamagedPrefix("its checksum is wrong")
    return state


def _checksum(header: bytes, ids: bytes, state: bytes) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in (header, ids, state):
        digest.update(LENGTH.pack(len(part)))
        digest.update(part)
    return digest.hexdigest()


def _little_endian(ids: array[int]) -> bytes:
    return _native(ids).tobytes()


def _native(ids: array[int]) -> array[int]:
    """Swapped where this machine is big-endian: files are little-endian everywhere."""
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        ids.byteswap()
    return ids
