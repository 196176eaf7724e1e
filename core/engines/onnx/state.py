"""A saved sequence: a magic, a checksum, and the tensors in the safetensors format.

The format (length of the header, JSON header, tensors) is that of https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from core.errors import EngineError

if TYPE_CHECKING:
    from core.engines.onnx.graph import Floats

MAGIC: Final = b"BTO1"
SUM_BYTES: Final = 32
LENGTH: Final = struct.Struct("<Q")
NAMES: Final[dict[Any, str]] = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16"}


def pack_arrays(names: Sequence[str], arrays: Sequence[Floats]) -> bytes:
    """The arrays, (heads, length, head) each, under their names."""
    header: dict[str, object] = {}
    end = 0
    for name, array in zip(names, arrays, strict=True):
        start, end = end, end + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join((LENGTH.pack(len(text)), text, *(np.ascontiguousarray(array).tobytes() for array in arrays)))
    return MAGIC + hashlib.sha256(body).digest() + body


def unpack_arrays(data: bytes, names: Sequence[str], shapes: Sequence[tuple[int, int]], dtype: type) -> list[Floats]:
    """What `pack_arrays` was given. Raises EngineError for what is damaged, or of a model with other tensors."""
    start = len(MAGIC) + SUM_BYTES
    if len(data) < start + LENGTH.size or data[: len(MAGIC)] != MAGIC:
        raise EngineError("The saved state is not one of onnxruntime's sequences.")
    body = memoryview(data)[start:]
    if hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
        raise EngineError("The saved state is damaged.")
    (size,) = LENGTH.unpack_from(body)
    header = json.loads(bytes(body[LENGTH.size : LENGTH.size + size]))
    tensors = body[LENGTH.size + size :]
    arrays: list[Floats] = []
    lengths = set()
    for name, (heads, width) in zip(names, shapes, strict=True):
        entry = header.get(name)
        if entry is None or entry["dtype"] != NAMES[np.dtype(dtype)] or entry["shape"][::2] != [heads, width]:
            raise EngineError("The saved state is of another model.")
        start, end = entry["data_offsets"]
        arrays.append(np.frombuffer(tensors[start:end], dtype).reshape(entry["shape"]))
        lengths.add(entry["shape"][1])
    if len(lengths) != 1 or len(header) != len(names):
        raise EngineError("The saved state is of another model.")
    return arrays
