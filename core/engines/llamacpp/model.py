"""A GGUF model in llama.cpp: batched steps over many sequences that share one unified KV cache."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Sequence

import llama_cpp as native
import numpy as np
import numpy.typing as npt

from core.contract.models import ModelSpec
from core.contract.step import SequenceId, Step, StepLogprob, Work
from core.decoding.masks.bits import unpack_mask
from core.decoding.sampling import find_likely, make_step
from core.decoding.verify import verify_draft
from core.engines.llamacpp.batch import NativeBatch
from core.engines.llamacpp.samplers import AbortFlag, CandidateTokens, build_chain, count_enough, seed_draw
from core.engines.llamacpp.tiles import SlowRows
from core.engines.llamacpp.tokenizer import LlamaTokenizer
from core.errors import EngineError, EngineFailed, Interrupted, LogitsBroken
from core.models.fit.sizing import count_outputs
from core.requests import Sampling

SAVED_HEADER = struct.Struct("<4sI")
SAVED_MAGIC = b"BTS1"
NO_SLOT, ABORTED = 1, 2
"""What llama_decode returns when the KV cache has no room, and when the abort callback said stop."""
FAILURES = {-1: "it refused the batch", -2: "there was not enough memory", -3: "the computation failed"}
"""What it returns else, from llama_context::decode."""
_new_bytes = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
    ("PyBytes_FromStringAndSize", ctypes.pythonapi)
)
"""Python's own way to bytes that are not zeroed first; only who made them may write them, before others know them."""


def _address(data: bytes) -> int:
    """Where the bytes lie."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


class NoSlot(EngineFailed):
    """The KV cache has no room for a pass; nothing of it was computed."""


class _LlamaSequence:
    """A sequence: how many tokens it has, how it samples, and the native chain that does."""

    __slots__ = ("chain", "enough", "length", "sampling", "weighed")

    def __init__(self, sampling: Sampling, chain: native.llama_sampler_p) -> None:
        self.sampling = sampling
        self.chain = chain
        self.enough = count_enough(sampling)
        self.length = 0
        self.weighed: list[StepLogprob] = []
        """Of the tokens that the step has drawn, where those that they are drawn by are wanted."""


class LlamaModel:
    """Any model that llama.cpp decodes, recurrent ones too. Takes over `model` and `context`, frees them at last."""

    def __init__(
        self, model: native.llama_model_p, context: native.llama_context_p, tokenizer: LlamaTokenizer, spec: ModelSpec
    ) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self._model: native.llama_model_p | None = model
        self._context = context
        self._memory = native.llama_get_memory(context)
        self._batch = NativeBatch(spec.batch)
        self._candidates = CandidateTokens(tokenizer.size)
        self._outputs = count_outputs(spec)
        self._free = list(range(spec.sequences - 1, -1, -1))
        self._sequences: dict[SequenceId, _LlamaSequence] = {}
        self._abort = AbortFlag()
        self._abort.attach(context)

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        if not self._free:
            raise EngineError(f"All {self.spec.sequences} sequences are open already.")
        chain = build_chain(self.tokenizer.vocab, sampling, history, self.spec.context)
        sequence = SequenceId(self._free.pop())
        self._sequences[sequence] = _LlamaSequence(sampling, chain)
        return sequence

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        batch, end, drawn = self._batch, 0, 0
        starts = []
        for item in work:
            tokens = [*item.tokens, *item.draft]
            if end + len(tokens) > self.spec.batch:
                raise EngineFailed(f"A step takes {self.spec.batch} tokens at most.")
            state = self._sequences[item.sequence]
            rows = 1 + len(item.draft) if item.sample else 0
            end = batch.fill(end, tokens, state.length, item.sequence, rows)
            starts.append(end - rows)
            drawn += rows
        if drawn > self._outputs:
            # llama.cpp would abort the process.
            raise EngineFailed(f"A step draws {self._outputs} tokens at most.")
        self._compute(end, work)
        if all(self._takes_likeliest(item) for item in work):
            return self._draw_likeliest(work)
        return [self._finish(item, start) for item, start in zip(work, starts, strict=True)]

    def logits(self, tokens: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        sequence = self.open(Sampling(temperature=0.0))
        most = min(self.spec.batch, self._outputs)
        try:
            for start in range(0, len(tokens), most):
                portion = tokens[start : start + most]
                self._batch.fill(0, portion, start, sequence, len(portion))
                self._decode(len(portion))
                pointer = native.llama_get_logits(self._context)
                yield np.ctypeslib.as_array(pointer, (len(portion), self.tokenizer.size))
        finally:
            self.close(sequence)

    def save(self, sequence: SequenceId) -> bytes:
        return self._save_behind((), sequence)

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        return self._restore_from(data, 0, sampling, history)

    def _save_behind(self, before: Sequence[bytes], sequence: SequenceId) -> bytes:
        """The sequence's state, with `before` in front."""
        parts = (*before, SAVED_HEADER.pack(SAVED_MAGIC, self._sequences[sequence].length))
        start = sum(map(len, parts))
        size = native.llama_state_seq_get_size(self._context, sequence)
        # A state may be hundreds of megabytes, and the loop waits: it is written where it stays.
        data: bytes = _new_bytes(None, start + size)
        at = _address(data)
        for part in parts:
            ctypes.memmove(at, part, len(part))
            at += len(part)
        buffer = (ctypes.c_uint8 * size).from_address(_address(data) + start)
        written = native.llama_state_seq_get_data(self._context, buffer, size, sequence)
        if written == 0:
            raise EngineError("llama.cpp could not save the sequence's state.")
        return data[: start + written]

    def _restore_from(self, data: bytes, start: int, sampling: Sampling, history: Sequence[int]) -> SequenceId:
        """A sequence with the state that begins behind `start` bytes."""
        if len(data) <= start + SAVED_HEADER.size or data[start : start + len(SAVED_MAGIC)] != SAVED_MAGIC:
            raise EngineError("The saved state is not one of llama.cpp's sequences.")
        _, length = SAVED_HEADER.unpack_from(data, start)
        start += SAVED_HEADER.size
        sequence = self.open(sampling, history)
        # llama.cpp only reads them, and `data` outlives the call.
        state = (ctypes.c_uint8 * (len(data) - start)).from_address(_address(data) + start)
        if native.llama_state_seq_set_data(self._context, state, len(state), sequence) == 0:
            self.close(sequence)
            raise EngineError("llama.cpp does not accept the saved state; it is damaged or of another model.")
        self._sequences[sequence].length = length
        return sequence

    def close(self, sequence: SequenceId) -> None:
        native.llama_sampler_free(self._sequences.pop(sequence).chain)
        native.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._free.append(sequence)

    def interrupt(self, on: bool) -> None:
        self._abort.set(on)

    def set_threads(self, decode: int, batch: int) -> None:
        native.llama_set_n_threads(self._context, decode, batch)

    def shutdown(self) -> None:
        if self._model is None:
            return
        self.tokenizer.close()
        for state in self._sequences.values():
            native.llama_sampler_free(state.chain)
        self._sequences.clear()
        native.llama_free(self._context)
        native.llama_model_free(self._model)
        self._model = None

    def _compute(self, count: int, work: Sequence[Work]) -> None:
        """Compute the first `count` rows of the batch, which are those of `work`."""
        self._decode(count)

    def _decode(self, count: int) -> None:
        self._batch.native.n_tokens = count
        result = native.llama_decode(self._context, self._batch.native)
        if result == ABORTED:
            raise Interrupted("The step was interrupted.")
        if result == NO_SLOT:
            raise NoSlot(f"llama.cpp found no room in the KV cache for {count} tokens.")
        if result != 0:
            why = FAILURES.get(result, "it did not say why")
            raise EngineFailed(f"llama.cpp could not compute {count} tokens: {why} (code {result}).")

    def _takes_likeliest(self, work: Work) -> bool:
        """Whether all that the step draws for it is the likeliest token."""
        state = self._sequences[work.sequence]
        plain = not work.draft and not work.masks and state.sampling.logprobs is None
        return not work.sample or (plain and state.enough == 1)

    def _draw_likeliest(self, work: Sequence[Work]) -> list[Step]:
        """The steps of such work. One call looks at all logits: each one gives the interpreter's lock away, and waits
        while the event loop has it."""
        drawing = sum(item.sample for item in work)
        tokens = iter(self._find_likeliest(drawing)) if drawing else iter(())
        for item in work:
            self._sequences[item.sequence].length += len(item.tokens)
        return [Step((next(tokens),)) if item.sample else Step() for item in work]

    def _find_likeliest(self, count: int) -> list[int]:
        """In each of the step's `count` rows of logits."""
        pointer = native.llama_get_logits(self._context)
        rows = np.ctypeslib.as_array(pointer, (count, self.tokenizer.size))
        likeliest = rows.argmax(axis=1)
        if np.isnan(rows[np.arange(count), likeliest]).any():
            # The largest of anything with a NaN in it is the NaN.
            raise LogitsBroken
        found: list[int] = likeliest.tolist()
        return found

    def _finish(self, work: Work, start: int) -> Step:
        """Book the tokens, draw where asked, take back the guesses that did not come true."""
        state = self._sequences[work.sequence]
        state.length += len(work.tokens)
        if not work.sample:
            return Step()
        drawn = verify_draft(work, lambda index, mask: self._draw(state, start, index, mask))
        state.length += len(drawn) - 1
        wrong = len(work.draft) + 1 - len(drawn)
        if wrong and not native.llama_memory_seq_rm(self._memory, work.sequence, state.length, -1):
            raise EngineFailed(f"llama.cpp could not take back {wrong} guesses.")
        weighed, state.weighed = state.weighed, []
        if weighed:
            return Step(drawn, tuple(weighed))
        rows = (self._logits(start + index) for index in range(len(drawn)))
        return make_step(drawn, rows, state.sampling.logprobs)

    def _draw(self, state: _LlamaSequence, start: int, index: int, mask: bytes | None) -> int:
        """The token behind the first `index` guesses; logits of the step's draws begin at `start`."""
        output, sampling = start + index, state.sampling
        if sampling.seed is not None and not sampling.greedy:
            seed_draw(state.chain, sampling.seed, state.length + index)
        if sampling.weighed and sampling.logprobs is not None:
            return self._draw_weighed(state, output, mask)
        if mask is None and state.enough is None:
            # Native throughout: every logit counts.
            return self._sample(state, output)
        logits = self._logits(output)
        if mask is not None:
            allowed = unpack_mask(mask, len(logits))
            most = 2 * np.count_nonzero(allowed) > len(logits)
            if not most or sampling.logprobs is not None or sampling.typical_p < 1.0:
                return self._candidates.draw(state.chain, logits, np.flatnonzero(allowed))
            # To ban a few costs less than to list all others. Log-probabilities would be told of the banned logits, and
            # typical sampling sums over them.
            logits[np.flatnonzero(~allowed)] = -np.inf
        if state.enough is None:
            return self._sample(state, output)
        if state.enough > 1:
            return self._candidates.draw(state.chain, logits, find_likely(logits, state.enough))
        likeliest = int(logits.argmax())
        if np.isnan(logits[likeliest]):
            # The largest of anything with a NaN in it is the NaN.
            raise LogitsBroken
        return likeliest

    def _draw_weighed(self, state: _LlamaSequence, output: int, mask: bytes | None) -> int:
        logits = self._logits(output)
        likely = find_likely(logits, state.enough) if state.enough else np.arange(len(logits))
        tokens = likely if mask is None else np.flatnonzero(unpack_mask(mask, len(logits)))
        token = self._candidates.draw(state.chain, logits, tokens)
        state.weighed.append(self._candidates.weigh(state.sampling))
        return token

    def _sample(self, state: _LlamaSequence, output: int) -> int:
        token: int = native.llama_sampler_sample(state.chain, self._context, output)
        return token

    def _logits(self, output: int) -> npt.NDArray[np.float32]:
        """The model's raw logits (vocabulary,) as they lie in llama.cpp's memory."""
        pointer = native.llama_get_logits_ith(self._context, output)
        return np.ctypeslib.as_array(pointer, (self.tokenizer.size,))


class TrimmingLlamaModel(LlamaModel):
    """A model whose KV cache can be cut at any token: attention without recurrent state."""

    slow_rows: SlowRows | None = None
    """Where small passes are slow, how much so."""

    def _compute(self, count: int, work: Sequence[Work]) -> None:
        padding = self.slow_rows.count_padding(self._list_rows(work)) if self.slow_rows is not None else 0
        if count + padding > self.spec.batch or not padding:
            self._decode(count)
            return
        last = work[-1].sequence
        end = self._batch.positions[count - 1] + 1
        # Rows behind the last sequence's own: no other row sees them.
        self._batch.fill(count, [0] * padding, int(end), last, 0)
        try:
            self._decode(count + padding)
        except NoSlot:
            self._decode(count)
        else:
            native.llama_memory_seq_rm(self._memory, last, int(end), -1)

    def _list_rows(self, work: Sequence[Work]) -> Iterator[tuple[int, int]]:
        for item in work:
            rows = len(item.tokens) + len(item.draft)
            yield rows, self._sequences[item.sequence].length + rows

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        child = self.open(sampling, history)
        native.llama_memory_seq_cp(self._memory, sequence, child, 0, length)
        self._sequences[child].length = length
        return child

    def trim(self, sequence: SequenceId, length: int) -> None:
        native.llama_memory_seq_rm(self._memory, sequence, length, -1)
        self._sequences[sequence].length = length
