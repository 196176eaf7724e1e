"""KV state of one sequence: at work in mlx-lm's caches, at rest in segments that forks share.

Attention in MLX wants the keys of a sequence in one piece, so a sequence at work has its own copy. What rests is cut
into immutable segments: a fork takes references to its parent's, and only tokens that differ are held twice.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from core.engines.mlx.library import caches as library
from core.errors import EngineError

Layer = tuple[mx.array, ...]
"""One layer's keys and values, or of both the packed words, scales and biases; tokens are the second last axis."""
TOKENS_AXIS = -2
SPARE_TOKENS = 256
"""Room for further tokens, as mlx-lm's caches grow."""
WATCHED_TOKENS = 16
"""Chunks of at least so many tokens look out for an interrupt at each layer."""
HEADER = struct.Struct("<4sII")
MAGIC = b"BTX1"


class WatchedKv(library.KVCache):  # type: ignore[misc]
    """A KV cache that lets `watch` raise between two layers of a prefill chunk."""

    watch: Callable[[], None]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Any:
        if keys.shape[TOKENS_AXIS] >= WATCHED_TOKENS:
            mx.eval(keys, values)
            self.watch()
        return super().update_and_fetch(keys, values)


class WatchedQuantizedKv(library.QuantizedKVCache):  # type: ignore[misc]
    """The same, of quantized keys and values."""

    watch: Callable[[], None]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Any:
        if keys.shape[TOKENS_AXIS] >= WATCHED_TOKENS:
            mx.eval(keys, values)
            self.watch()
        return super().update_and_fetch(keys, values)


class KvSegment:
    """`length` tokens of KV state in every layer; never changed."""

    __slots__ = ("layers", "length")

    def __init__(self, layers: Sequence[Layer], length: int) -> None:
        self.layers = layers
        self.length = length


def seal_segment(caches: Sequence[Any], start: int, end: int) -> KvSegment:
    """A copy of tokens `start` to `end` of caches at work."""
    layers = [
        tuple(mx.contiguous(array[..., start:end, :]) for array in _arrays(cache.keys, cache.values))
        for cache in caches
    ]
    mx.eval(layers)
    return KvSegment(layers, end - start)


def cut_segments(segments: Sequence[KvSegment], length: int) -> list[KvSegment]:
    """The first `length` tokens. A segment cut in its middle stays whole in memory: the rest of it is shared."""
    kept: list[KvSegment] = []
    for segment in segments:
        room = length - sum(each.length for each in kept)
        if room <= 0:
            break
        kept.append(segment if segment.length <= room else _first(segment, room))
    return kept


def restore_caches(segments: Sequence[KvSegment], caches: Sequence[Any]) -> None:
    """Put the segments, joined, into empty caches, with room to grow."""
    length = sum(segment.length for segment in segments)
    if not length:
        return
    for index, cache in enumerate(caches):
        parts = zip(*(segment.layers[index] for segment in segments), strict=True)
        joined = [_joined(part) for part in parts]
        half = len(joined) // 2
        quantized = half > 1
        cache.keys, cache.values = (tuple(joined[:half]), tuple(joined[half:])) if quantized else (joined[0], joined[1])
        cache.offset = length


def dump_segments(segments: Sequence[KvSegment]) -> bytes:
    """Magic, number of tokens, checksum, then a safetensors file with an array for each layer and part."""
    length = sum(segment.length for segment in segments)
    arrays: dict[str, mx.array] = {}
    for index in range(len(segments[0].layers) if segments else 0):
        for part, pieces in enumerate(zip(*(segment.layers[index] for segment in segments), strict=True)):
            arrays[f"{index}.{part}"] = mx.concatenate(list(pieces), axis=TOKENS_AXIS)
    file = io.BytesIO()
    mx.save_safetensors(file, arrays)
    return sign_state(length, file.getvalue())


def load_segments(data: bytes, like: Sequence[Layer]) -> list[KvSegment]:
    """Raises EngineError when `data` are damaged or do not look `like` the layers of this model."""
    length, body = verify_state(data)
    if not length:
        return []
    try:
        arrays = mx.load(io.BytesIO(body), format="safetensors")
    except RuntimeError as error:
        raise EngineError(f"The saved state cannot be read: {error}.") from error
    assert isinstance(arrays, dict)
    layers = [
        tuple(_fitting(arrays.get(f"{index}.{part}"), array, length) for part, array in enumerate(layer))
        for index, layer in enumerate(like)
    ]
    mx.eval(layers)
    return [KvSegment(layers, length)]


def sign_state(length: int, body: bytes) -> bytes:
    """`body`, the state of `length` tokens, with what tells it from damaged and foreign data."""
    return HEADER.pack(MAGIC, length, _checksum(length, body)) + body


def verify_state(data: bytes) -> tuple[int, bytes]:
    """Length and body of what `sign_state` made. Raises EngineError."""
    if len(data) <= HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise EngineError("The saved state is not one of an MLX model's sequences.")
    _, length, checksum = HEADER.unpack_from(data)
    body = data[HEADER.size :]
    if _checksum(length, body) != checksum:
        raise EngineError("The saved state is damaged.")
    return length, body


def _checksum(length: int, body: bytes) -> int:
    return zlib.crc32(body, length)


def _arrays(keys: Any, values: Any) -> Layer:
    return (keys, values) if isinstance(keys, mx.array) else (*keys, *values)


def _first(segment: KvSegment, length: int) -> KvSegment:
    layers = [tuple(array[..., :length, :] for array in layer) for layer in segment.layers]
    mx.eval(layers)
    return KvSegment(layers, length)


def _joined(pieces: Sequence[mx.array]) -> mx.array:
    shape = list(pieces[0].shape)
    shape[TOKENS_AXIS] = SPARE_TOKENS
    return mx.concatenate([*pieces, mx.zeros(shape, pieces[0].dtype)], axis=TOKENS_AXIS)


def _fitting(found: mx.array | None, like: mx.array, length: int) -> mx.array:
    wanted = list(like.shape)
    wanted[TOKENS_AXIS] = length
    if found is None or list(found.shape) != wanted or found.dtype != like.dtype:
        raise EngineError("The saved state is of another model, or of other settings.")
    return found
