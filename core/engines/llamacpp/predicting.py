"""GGUF models in llama.cpp that guess ahead with heads of their own."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import llama_cpp as native
from llama_cpp import llama_cpp_ext as extension

from core.contract.models import AheadWish, ModelSpec
from core.contract.step import SequenceId, Step, Work
from core.engines.llamacpp.marking import MarkingLlamaModel
from core.engines.llamacpp.model import LlamaModel, TrimmingLlamaModel
from core.engines.llamacpp.mtp import MtpHeads
from core.engines.llamacpp.tokenizer import LlamaTokenizer
from core.errors import EngineError
from core.requests import Sampling

AHEAD_HEADER = struct.Struct("<4sQ")
"""A magic word, and bytes of the heads' state behind it."""
AHEAD_MAGIC = b"BTA1"


class PredictingLlamaModel(LlamaModel):
    """See `core.contract.models.PredictsAhead`. The heads follow whatever the sequences go through."""

    def __init__(
        self,
        model: native.llama_model_p,
        context: native.llama_context_p,
        tokenizer: LlamaTokenizer,
        spec: ModelSpec,
        heads: MtpHeads,
    ) -> None:
        super().__init__(model, context, tokenizer, spec)
        self._heads = heads
        extension.llama_set_embeddings_nextn(context, True, False)

    def guess_ahead(self, wishes: Sequence[AheadWish]) -> list[list[int]]:
        return self._heads.guess(wishes, self.tokenizer.ends)

    @property
    def most_ahead(self) -> int | None:
        return self._heads.most

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        steps = super().step(work)
        states = self._heads.read_states(self._context, sum(len(item.tokens) + len(item.draft) for item in work))
        if states is None:
            return steps
        at = 0
        for item, step in zip(work, steps, strict=True):
            tokens = [*item.tokens, *item.draft[: max(0, len(step.tokens) - 1)]]
            self._heads.learn(item.sequence, tokens, states[at : at + len(tokens)])
            at += len(item.tokens) + len(item.draft)
        self._heads.settle()
        return steps

    def close(self, sequence: SequenceId) -> None:
        super().close(sequence)
        self._heads.close(sequence)

    def _save_behind(self, before: Sequence[bytes], sequence: SequenceId) -> bytes:
        ahead = self._heads.save(sequence)
        return super()._save_behind((*before, AHEAD_HEADER.pack(AHEAD_MAGIC, len(ahead)), ahead), sequence)

    def _restore_from(self, data: bytes, start: int, sampling: Sampling, history: Sequence[int]) -> SequenceId:
        begin = start + AHEAD_HEADER.size
        if begin > len(data):
            raise EngineError("The saved state is cut short.")
        magic, size = AHEAD_HEADER.unpack_from(data, start)
        if magic != AHEAD_MAGIC or size > len(data) - begin:
            raise EngineError("The saved state is not one of llama.cpp's sequences with heads.")
        sequence = super()._restore_from(data, begin + size, sampling, history)
        try:
            self._heads.restore(sequence, self._sequences[sequence].length, data[begin : begin + size])
        except MemoryError:
            self.close(sequence)
            raise
        return sequence

    def set_threads(self, decode: int, batch: int) -> None:
        super().set_threads(decode, batch)
        self._heads.set_threads(decode, batch)

    def shutdown(self) -> None:
        if self._model is not None:
            self._heads.shutdown()
        super().shutdown()


class PredictingTrimmingModel(PredictingLlamaModel, TrimmingLlamaModel):
    """One whose KV cache can be cut at any token."""

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        child = super().fork(sequence, length, sampling, history)
        self._heads.fork(sequence, child, length)
        return child

    def trim(self, sequence: SequenceId, length: int) -> None:
        super().trim(sequence, length)
        self._heads.trim(sequence, length)


class PredictingMarkingModel(PredictingLlamaModel, MarkingLlamaModel):
    """One with recurrent states, of which copies are kept so that a few tokens can be taken back."""

    @property
    def most_taken_back(self) -> int:
        count: int = native.llama_n_rs_seq(self._context)
        return count

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        child = super().fork(sequence, length, sampling, history)
        self._heads.fork(sequence, child, length)
        return child
