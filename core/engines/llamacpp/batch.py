"""The tokens of one pass, as llama.cpp takes them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp as native
import numpy as np
import numpy.typing as npt


class NativeBatch:
    """A llama_batch over numpy arrays, so that filling it costs a few slice assignments."""

    def __init__(self, size: int) -> None:
        self.tokens = np.zeros(size, np.int32)
        self.positions = np.zeros(size, np.int32)
        self.sequences = np.zeros(size, np.int32)
        self.outputs = np.zeros(size, np.int8)
        self._ones = np.ones(size, np.int32)
        base = self.sequences.ctypes.data
        self._pointers = base + np.arange(size, dtype=np.uint64) * np.uint64(self.sequences.itemsize)
        self.native = native.llama_batch(
            0,
            self._pointer(self.tokens, native.llama_token),
            None,
            self._pointer(self.positions, native.llama_pos),
            self._pointer(self._ones, ctypes.c_int32),
            ctypes.cast(self._pointers.ctypes.data, ctypes.POINTER(ctypes.POINTER(native.llama_seq_id))),
            self._pointer(self.outputs, ctypes.c_int8),
        )

    def fill(self, at: int, tokens: Sequence[int], position: int, sequence: int, outputs: int) -> int:
        """Append `tokens` of a sequence; the last `outputs` of them get logits. Returns where the next begins."""
        end = at + len(tokens)
        self.tokens[at:end] = tokens
        self.positions[at:end] = range(position, position + len(tokens))
        self.sequences[at:end] = sequence
        self.outputs[at:end] = 0
        self.outputs[end - outputs : end] = 1
        return end

    def point_at(self, states: npt.NDArray[np.float32]) -> None:
        """Tokens come with hidden states, (size, width), that are filled in beside `fill`."""
        self.native.embd = ctypes.cast(states.ctypes.data, ctypes.POINTER(ctypes.c_float))  # type: ignore[assignment]

    @staticmethod
    def _pointer(array: npt.NDArray[np.int32] | npt.NDArray[np.int8], kind: type) -> object:
        return ctypes.cast(array.ctypes.data, ctypes.POINTER(kind))
