"""A model whose sequences can be cut at any token, share what they have in common, and are computed ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from core.contract.models import ModelSpec, Tokenizer
from core.contract.step import SequenceId, Work
from core.decoding.verify import verify_draft
from core.engines.mlx import kv
from core.engines.mlx.model import Drawn, MlxModel, Network, build_token_ids, translate_failures
from core.requests import Sampling


class Ahead:
    """A pass begun before it was asked for: the token of each sequence, and the logits that will follow it."""

    __slots__ = ("logits", "tokens")

    def __init__(self, tokens: dict[SequenceId, int], logits: dict[SequenceId, mx.array]) -> None:
        self.tokens = tokens
        self.logits = logits


class TrimmingMlxModel(MlxModel):
    """A model of nothing but attention over the whole context, whose KV state can be cut at any token.

    As many sequences as there are slots stay at work, the others rest in segments that forks share. So the cells of
    what rests are held once, as the loop's books have it, and those at work cost no more than a second copy.

    While a step's tokens are told, the pass over them runs already: `_ahead`. It serves the next step if that one does
    nothing but go on with the same sequences, and is taken back as soon as anything else is done with one of them.
    """

    _takes_back = True

    def __init__(
        self, network: Network, tokenizer: Tokenizer, spec: ModelSpec, vocabulary: int, new: Callable[[], list[Any]]
    ) -> None:
        super().__init__(network, tokenizer, spec, vocabulary, lambda: self._watched(new()))
        self._at_work: dict[SequenceId, None] = {}
        """Who has caches of its own, the one used longest ago first."""
        self._like = _shapes(network, new())
        self._ahead: Ahead | None = None

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        child = self.open(sampling, history)
        with translate_failures():
            self._seal(sequence)
            self._sequences[child].segments = kv.cut_segments(self._sequences[sequence].segments, length)
        self._sequences[child].length = length
        return child

    def trim(self, sequence: SequenceId, length: int) -> None:
        state = self._sequences[sequence]
        with translate_failures():
            if sequence in self._batch or state.caches is not None:
                _take_back(self._alone(sequence), length)
            state.segments = kv.cut_segments(state.segments, length)
        state.length = length

    def save(self, sequence: SequenceId) -> bytes:
        with translate_failures():
            self._seal(sequence)
            return kv.dump_segments(self._sequences[sequence].segments)

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        segments = kv.load_segments(data, self._like)
        sequence = self.open(sampling, history)
        self._sequences[sequence].segments = segments
        self._sequences[sequence].length = sum(segment.length for segment in segments)
        return sequence

    def close(self, sequence: SequenceId) -> None:
        self._withdraw(sequence)
        super().close(sequence)
        self._at_work.pop(sequence, None)

    def _alone(self, sequence: SequenceId) -> list[Any]:
        self._withdraw(sequence)
        state = self._sequences[sequence]
        if sequence in self._batch:
            state.caches = self._new()
            for mine, extracted in zip(state.caches, self._batch.leave(sequence), strict=True):
                mine.state = extracted.state
        elif state.caches is None:
            state.caches = self._new()
            kv.restore_caches(state.segments, state.caches)
        self._touch(sequence)
        return state.caches

    def _logits(self, last: dict[SequenceId, int]) -> dict[SequenceId, mx.array]:
        ahead = self._ahead
        if ahead is None or ahead.tokens != last:
            self._withdraw()
            return super()._logits(last)
        self._ahead = None
        for sequence in self._at_work.keys() & last.keys():
            self._touch(sequence)
        return ahead.logits

    def _begin_next(self, sequences: Sequence[SequenceId], picks: mx.array) -> dict[SequenceId, mx.array]:
        logits: dict[SequenceId, mx.array] = {}
        rows = [row for row in self._batch.rows if row in sequences]
        if rows:
            order = mx.array([sequences.index(row) for row in rows])
            common = self._forward(picks[order][:, None], self._batch.caches)
            logits = {row: common[index, -1] for index, row in enumerate(rows)}
        for index, sequence in enumerate(sequences):
            if sequence not in logits:
                caches = self._sequences[sequence].caches
                assert caches is not None
                logits[sequence] = self._forward(picks[index].reshape(1, 1), caches)[0, -1]
        return logits

    def _expect(self, tokens: dict[SequenceId, int], logits: dict[SequenceId, mx.array]) -> None:
        self._ahead = Ahead(tokens, logits)

    def _withdraw(self, sequence: SequenceId | None = None) -> None:
        """Take back the pass begun ahead; with a sequence named, only if that is part of it."""
        if self._ahead is None or (sequence is not None and sequence not in self._ahead.tokens):
            return
        if any(each in self._batch for each in self._ahead.tokens):
            for cache in self._batch.caches:
                cache.trim(1)
        for each in self._ahead.tokens:
            state = self._sequences[each]
            if state.caches is not None:
                _take_back(state.caches, state.length)
        self._ahead = None

    def _touch(self, sequence: SequenceId) -> None:
        """The sequence is the one used last."""
        self._at_work.pop(sequence, None)
        self._at_work[sequence] = None

    def _gather(self, rows: Sequence[SequenceId]) -> None:
        super()._gather(rows)
        for sequence in rows:
            self._at_work.pop(sequence, None)

    def _verify(self, item: Work) -> Drawn:
        """The last token and the guesses in one pass; what does not come true is taken back."""
        state, caches = self._sequences[item.sequence], self._alone(item.sequence)
        logits = self._forward(build_token_ids([[item.tokens[-1], *item.draft]]), caches)[0]
        mx.eval(logits)

        def draw(index: int, mask: bytes | None) -> int:
            token = int(np.array(state.sampler.draw(logits[index], mask)))
            state.sampler.accept(token)
            return token

        drawn = verify_draft(item, draw)
        state.length += len(drawn)
        _take_back(caches, state.length)
        return [(token, logits[index]) for index, token in enumerate(drawn)]

    def _settle(self) -> None:
        super()._settle()
        while len(self._at_work) > self.spec.slots:
            coldest = next(iter(self._at_work))
            self._seal(coldest)
            self._sequences[coldest].caches = None
            del self._at_work[coldest]

    def _seal(self, sequence: SequenceId) -> None:
        """Make segments hold all of the sequence."""
        state = self._sequences[sequence]
        sealed = sum(segment.length for segment in state.segments)
        if sealed < state.length:
            state.segments.append(kv.seal_segment(self._alone(sequence), sealed, state.length))

    def _watched(self, caches: list[Any]) -> list[Any]:
        for cache in caches:
            cache.watch = self._look
        return caches


def _take_back(caches: Sequence[Any], length: int) -> None:
    """Make KV caches hold `length` tokens, whatever an interrupted pass has left in some of them."""
    for cache in caches:
        cache.offset = min(cache.offset, length)


def _shapes(network: Network, caches: list[Any]) -> list[kv.Layer]:
    """What the arrays of one token's KV state look like."""
    for cache in caches:
        cache.watch = lambda: None
    network(mx.array([[0]]), cache=caches)
    mx.eval([cache.state for cache in caches])
    return kv.seal_segment(caches, 0, 1).layers  # type: ignore[return-value]
