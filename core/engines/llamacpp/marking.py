"""A GGUF model in llama.cpp whose sequences can be cut where they were marked: recurrent ones, hybrids, windows.

What grows with each token, the keys and values of layers that see everything, can be cut anywhere. The rest, recurrent
states and windows, moves on and is copied at each mark; a cut takes the first part as it is and the copy for the rest.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence

import llama_cpp as native

from core.contract.models import ModelSpec
from core.contract.step import SequenceId
from core.engines.llamacpp.model import LlamaModel
from core.engines.llamacpp.tokenizer import LlamaTokenizer
from core.errors import EngineError
from core.requests import Sampling

MARKS_HEADER = struct.Struct("<4sI")
MARKS_MAGIC = b"BTM1"
MARK_HEADER = struct.Struct("<IQ")
"""Length of the sequence at a mark, and bytes of the copy."""
MOST_MARKS = 8
"""Of one sequence."""
LATEST_MARKS = 3
"""The last ones stay: the ends of the last prompt and answer, where the next turn is likely to begin."""
MOST_MARK_BYTES = 256 << 20
"""Of all marks of one sequence, where they are more than the latest ones."""


class MarkingLlamaModel(LlamaModel):
    """See `core.contract.models.Marks`."""

    def __init__(
        self, model: native.llama_model_p, context: native.llama_context_p, tokenizer: LlamaTokenizer, spec: ModelSpec
    ) -> None:
        super().__init__(model, context, tokenizer, spec)
        self._marked: dict[SequenceId, dict[int, bytes]] = {}

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        sequence = super().open(sampling, history)
        self._marked[sequence] = {}
        return sequence

    def close(self, sequence: SequenceId) -> None:
        super().close(sequence)
        del self._marked[sequence]

    def mark(self, sequence: SequenceId) -> None:
        marks = self._marked[sequence]
        marks[self._sequences[sequence].length] = self._copy_rest(sequence)
        while len(marks) > MOST_MARKS or (
            len(marks) > LATEST_MARKS and sum(map(len, marks.values())) > MOST_MARK_BYTES
        ):
            del marks[choose_spare_mark(sorted(marks))]

    def marks(self, sequence: SequenceId) -> tuple[int, ...]:
        return tuple(sorted(self._marked[sequence]))

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        marks = self._marked[sequence]
        if length not in marks:
            raise EngineError(f"The sequence has no mark behind {length} tokens.")
        child = self.open(sampling, history)
        native.llama_memory_seq_cp(self._memory, sequence, child, 0, length)
        if not _put_rest(self._context, child, marks[length]):
            self.close(child)
            raise EngineError("llama.cpp does not accept the state of a mark; it is damaged or of another model.")
        self._sequences[child].length = length
        self._marked[child] = {each: mark for each, mark in marks.items() if each <= length}
        return child

    def save(self, sequence: SequenceId) -> bytes:
        return self._save_behind(_pack_marks(self._marked[sequence]), sequence)

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        marks, end = _unpack_marks(data)
        sequence = self._restore_from(data, end, sampling, history)
        self._marked[sequence] = marks
        return sequence

    def _copy_rest(self, sequence: SequenceId) -> bytes:
        flags = native.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        size = native.llama_state_seq_get_size_ext(self._context, sequence, flags)
        buffer = (ctypes.c_uint8 * size)()
        written = native.llama_state_seq_get_data_ext(self._context, buffer, size, sequence, flags)
        if written == 0:
            raise EngineError("llama.cpp could not save the sequence's state.")
        return bytes(memoryview(buffer)[:written])


def choose_spare_mark(lengths: Sequence[int]) -> int:
    """Which of these marks, ascending, can best be done without: where the others leave the smallest gap. Never one of
    the latest."""
    earlier = range(len(lengths) - LATEST_MARKS)
    return lengths[min(earlier, key=lambda at: lengths[at + 1] - (lengths[at - 1] if at else 0))]


def _put_rest(context: native.llama_context_p, sequence: SequenceId, mark: bytes) -> bool:
    # llama.cpp only reads the bytes.
    state = ctypes.cast(ctypes.c_char_p(mark), ctypes.POINTER(ctypes.c_uint8))
    flags = native.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
    return bool(native.llama_state_seq_set_data_ext(context, state, len(mark), sequence, flags))


def _pack_marks(marks: Mapping[int, bytes]) -> list[bytes]:
    packed = [MARKS_HEADER.pack(MARKS_MAGIC, len(marks))]
    for length, mark in marks.items():
        packed += [MARK_HEADER.pack(length, len(mark)), mark]
    return packed


def _unpack_marks(data: bytes) -> tuple[dict[int, bytes], int]:
    """The marks, and where the state behind them begins. Raises EngineError."""
    marks: dict[int, bytes] = {}
    try:
        magic, count = MARKS_HEADER.unpack_from(data)
        if magic != MARKS_MAGIC:
            raise EngineError("The saved state is not one of llama.cpp's sequences with marks.")
        at = MARKS_HEADER.size
        for _ in range(count):
            length, size = MARK_HEADER.unpack_from(data, at)
            at += MARK_HEADER.size
            if size > len(data) - at:
                raise EngineError("The saved state is cut short.")
            marks[length] = data[at : at + size]
            at += size
    except struct.error as error:
        raise EngineError("The saved state is cut short.") from error
    return marks, at
