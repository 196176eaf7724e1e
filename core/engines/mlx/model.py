"""A model in MLX: batched steps over sequences whose KV state lives in mlx-lm's caches."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from core.contract.models import ModelSpec, Tokenizer
from core.contract.step import SequenceId, Step, Work
from core.engines.mlx import kv
from core.engines.mlx.batch import Batch, choose_batch
from core.engines.mlx.library import async_eval
from core.engines.mlx.library import caches as library
from core.engines.mlx.sampling import MlxSampler, compute_logprob
from core.errors import EngineError, EngineFailed, Interrupted
from core.requests import Sampling

CHUNK_TOKENS = 128
"""Tokens of a prefill between two looks at the interrupt."""
CLEARING_STEPS = 256
"""Steps between two releases of the buffers that MLX keeps for reuse, as mlx-lm's own loop does."""

Network = Callable[..., mx.array]
"""Token ids (rows, tokens) and a cache for each layer to logits (rows, tokens, vocabulary)."""
Drawn = list[tuple[int, mx.array]]
"""Tokens drawn, each with the logits (vocabulary,) that it was drawn from."""


class State:
    """A sequence: what it holds, how it samples. `caches` is None while it is in the batch, or rests."""

    __slots__ = ("caches", "length", "sampler", "sampling", "segments")

    def __init__(self, sampling: Sampling, sampler: MlxSampler) -> None:
        self.sampling = sampling
        self.sampler = sampler
        self.length = 0
        self.caches: list[Any] | None = None
        self.segments: list[kv.KvSegment] = []


class MlxModel:
    """Any model that mlx-lm decodes, recurrent ones too. Must be used on the thread that made it.

    Sequences that decode a token each share one pass where the layers' caches can be merged; KV caches that are
    quantized cannot, and get a pass each, evaluated together.
    """

    _takes_back = False
    """Whether guesses can be verified: what does not come true must be taken back."""

    def __init__(
        self, network: Network, tokenizer: Tokenizer, spec: ModelSpec, vocabulary: int, new: Callable[[], list[Any]]
    ) -> None:
        """`new` makes empty caches, one a layer; `vocabulary` is the width of the logits."""
        self.spec = spec
        self.tokenizer = tokenizer
        self._network: Network | None = network
        self._vocabulary = vocabulary
        self._new = new
        self._merges = all(hasattr(cache, "merge") for cache in new())
        self._batch = Batch()
        self._free = list(range(spec.sequences - 1, -1, -1))
        self._sequences: dict[SequenceId, State] = {}
        self._interrupted = threading.Event()
        self._steps = 0

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        if not self._free:
            raise EngineError(f"All {self.spec.sequences} sequences are open already.")
        sampler = MlxSampler(sampling, history, self._vocabulary, self.spec.context)
        sequence = SequenceId(self._free.pop())
        self._sequences[sequence] = State(sampling, sampler)
        return sequence

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if sum(len(item.tokens) + len(item.draft) for item in work) > self.spec.batch:
            raise EngineFailed(f"A step takes {self.spec.batch} tokens at most.")
        with translate_failures():
            for item in work:
                self._prefill(item.sequence, item.tokens[:-1] if item.sample else item.tokens)
            self._look()
            drawn = self._decode([item for item in work if item.sample])
            self._settle()
        return [self._tell(item, drawn.get(item.sequence)) for item in work]

    def save(self, sequence: SequenceId) -> bytes:
        with translate_failures(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "state.safetensors"
            library.save_prompt_cache(str(path), self._alone(sequence))
            return kv.sign_state(self._sequences[sequence].length, path.read_bytes())

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        length, body = kv.verify_state(data)
        caches = _read_caches(body)
        if [type(cache) for cache in caches] != [type(cache) for cache in self._new()]:
            raise EngineError("The saved state is of another model, or of other settings.")
        sequence = self.open(sampling, history)
        self._sequences[sequence].caches = caches
        self._sequences[sequence].length = length
        return sequence

    def close(self, sequence: SequenceId) -> None:
        del self._sequences[sequence]
        if sequence in self._batch:
            self._batch.drop(sequence)
        self._free.append(sequence)

    def interrupt(self, on: bool) -> None:
        if on:
            self._interrupted.set()
        else:
            self._interrupted.clear()

    def shutdown(self) -> None:
        if self._network is None:
            return
        self._sequences.clear()
        self._batch = Batch()
        self._network = None
        mx.clear_cache()

    def _look(self) -> None:
        if self._interrupted.is_set():
            raise Interrupted("The step was interrupted.")

    def _prefill(self, sequence: SequenceId, tokens: Sequence[int]) -> None:
        """Compute tokens that nothing is drawn after. Their logits are never evaluated."""
        for start in range(0, len(tokens), CHUNK_TOKENS):
            self._look()
            chunk = tokens[start : start + CHUNK_TOKENS]
            caches = self._alone(sequence)
            self._forward(build_token_ids([chunk]), caches)
            mx.eval([cache.state for cache in caches])
            self._sequences[sequence].length += len(chunk)

    def _decode(self, work: Sequence[Work]) -> dict[SequenceId, Drawn]:
        """Compute the last token of each, with its draft, and draw."""
        drafts = [item for item in work if item.draft and self._takes_back]
        drafting = {item.sequence for item in drafts}
        single = [item for item in work if item.sequence not in drafting]
        last = {item.sequence: item.tokens[-1] for item in single}
        drawn: dict[SequenceId, Drawn] = self._decode_each(last, {item.sequence: item.mask(0) for item in single})
        for item in drafts:
            drawn[item.sequence] = self._verify(item)
        return drawn

    def _decode_each(
        self, last: dict[SequenceId, int], masks: dict[SequenceId, bytes | None]
    ) -> dict[SequenceId, Drawn]:
        """One token each. All passes and draws are evaluated at once, and the next pass is begun where it can be."""
        if not last:
            return {}
        logits = self._logits(last)
        picks = mx.stack(
            [self._sequences[sequence].sampler.draw(logits[sequence], masks[sequence]) for sequence in last]
        )
        # Two submissions: an array is there when all that was submitted with it is.
        async_eval(picks)
        following = self._begin_next(list(last), picks)
        async_eval(*following.values())
        tokens: list[int] = np.array(picks).tolist()
        for sequence, token in zip(last, tokens, strict=True):
            self._sequences[sequence].length += 1
            self._sequences[sequence].sampler.accept(token)
        self._expect(dict(zip(last, tokens, strict=True)), following)
        return {sequence: [(token, logits[sequence])] for sequence, token in zip(last, tokens, strict=True)}

    def _logits(self, last: dict[SequenceId, int]) -> dict[SequenceId, mx.array]:
        """Logits (vocabulary,) after each token, not evaluated yet: a pass for the batch, and one for who is alone."""
        rows = choose_batch({sequence: self._sequences[sequence].length for sequence in last}) if self._merges else []
        logits: dict[SequenceId, mx.array] = {}
        if len(rows) > 1:
            self._gather(rows)
            rows = self._batch.rows
            common = self._forward(build_token_ids([[last[row]] for row in rows]), self._batch.caches)
            logits = {row: common[index, -1] for index, row in enumerate(rows)}
        for sequence, token in last.items():
            if sequence not in logits:
                logits[sequence] = self._forward(build_token_ids([[token]]), self._alone(sequence))[0, -1]
        return logits

    def _gather(self, rows: Sequence[SequenceId]) -> None:
        """Make the batch hold these sequences and no others."""
        for sequence in [row for row in self._batch.rows if row not in rows]:
            self._alone(sequence)
        joining = [row for row in rows if row not in self._batch]
        self._batch.join(joining, [self._alone(sequence) for sequence in joining])
        for sequence in joining:
            self._sequences[sequence].caches = None

    def _alone(self, sequence: SequenceId) -> list[Any]:
        """The sequence's own caches; takes it out of the batch."""
        state = self._sequences[sequence]
        if sequence in self._batch:
            state.caches = self._batch.leave(sequence)
        elif state.caches is None:
            state.caches = self._new()
        return state.caches

    def _verify(self, item: Work) -> Drawn:
        """Only a model that can take tokens back can try guesses."""
        raise EngineFailed("This model cannot take tokens back, so it cannot verify a draft.")

    def _settle(self) -> None:
        """After each step."""
        self._steps += 1
        if self._steps % CLEARING_STEPS == 0:
            mx.clear_cache()

    def _begin_next(self, sequences: Sequence[SequenceId], picks: mx.array) -> dict[SequenceId, mx.array]:
        """Logits of a pass over tokens drawn but not known yet, where that can be taken back."""
        return {}

    def _expect(self, tokens: dict[SequenceId, int], logits: dict[SequenceId, mx.array]) -> None:
        """Remember what `_begin_next` began, now that its tokens are known."""

    def _forward(self, rows: mx.array, caches: Sequence[Any]) -> mx.array:
        assert self._network is not None
        return self._network(rows, cache=caches)

    def _tell(self, item: Work, drawn: Drawn | None) -> Step:
        if drawn is None:
            return Step()
        tokens = tuple(token for token, _ in drawn)
        wanted = self._sequences[item.sequence].sampling.logprobs
        if wanted is None:
            return Step(tokens)
        rows = self._sequences[item.sequence].sampler.take_weighed() or [logits for _, logits in drawn]
        return Step(tokens, tuple(compute_logprob(row, token, wanted) for token, row in zip(tokens, rows, strict=True)))


def build_token_ids(rows: Sequence[Sequence[int]]) -> mx.array:
    return mx.array(np.array(rows, np.int32))


def _read_caches(body: bytes) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        path.write_bytes(body)
        try:
            caches: list[Any] = library.load_prompt_cache(str(path))
            mx.eval([cache.state for cache in caches])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"The saved state cannot be read: {error}.") from error
    return caches


@contextmanager
def translate_failures() -> Iterator[None]:
    """What MLX raises, as EngineFailed."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, TypeError, MemoryError) as error:
        raise EngineFailed(f"MLX failed: {error}.") from error
