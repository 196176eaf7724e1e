"""Headers written byte by byte, right ones and wrong ones."""

import json
import struct
from collections.abc import Mapping, Sequence

TextOrNumber = str | int | float
F32, F16 = 0, 1


def gguf_bytes(
    pairs: Mapping[str, TextOrNumber | Sequence[TextOrNumber]] = {},
    tensors: Mapping[str, tuple[int, ...]] = {},
) -> bytes:
    """A whole GGUF file; its tensors are zeros in F32."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    head += b"".join(text(key) + _value(value) for key, value in pairs.items())
    offset = 0
    for name, shape in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, F32, offset)
        offset += 4 * _product(shape)
    return head + b"\0" * (-len(head) % 32) + b"\0" * offset


def raw(pair: bytes | None = None, tensors: bytes | None = None) -> bytes:
    """A file with one pair, or one tensor, as given; and some bytes behind it."""
    counts = struct.pack("<IQQ", 3, tensors is not None, pair is not None)
    return b"GGUF" + counts + (pair or b"") + (tensors or b"") + b"\0" * 256


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def safetensors_bytes(tensors: Mapping[str, tuple[str, tuple[int, ...], int]]) -> bytes:
    """A whole file of zeros; for each tensor its type, shape and bytes."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape, size) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    data = json.dumps(table).encode()
    return struct.pack("<Q", len(data)) + data + b"\0" * offset


def _value(value: TextOrNumber | Sequence[TextOrNumber]) -> bytes:
    if isinstance(value, str | int | float):
        kind, data = _scalar(value)
        return struct.pack("<I", kind) + data
    kind = _scalar(value[0])[0]
    return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(_scalar(each)[1] for each in value)


def _scalar(value: TextOrNumber) -> tuple[int, bytes]:
    match value:
        case str():
            return 8, text(value)
        case bool():
            return 7, struct.pack("<?", value)
        case int():
            return 4, struct.pack("<I", value)
        case float():
            return 6, struct.pack("<f", value)


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for each in shape:
        result *= each
    return result
