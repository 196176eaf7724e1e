"""MNN's LLM as a model of our loop: sequences known by their tokens, computed one after another."""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Sequence
from itertools import count
from typing import Final

from msgspec import Struct

from core.contract.models import ModelSpec, Tokenizer
from core.contract.step import SequenceId, Step, Work
from core.decoding.sampling import Logits, Sampler
from core.decoding.verify import verify_draft
from core.engines.mnn.lanes import KvLane, choose_lane
from core.errors import EngineError, EngineFailed, Interrupted
from core.requests import Sampling

MAGIC: Final = b"BTN1"
SUM_BYTES: Final = 32
ITEM: Final = "i"
"""How saved tokens are stored: C's int."""


class _MnnSequence(Struct):
    """A sequence: what it is made of, how it draws, and the lane it is computed in while it has one."""

    tokens: list[int]
    sampler: Sampler
    lane: KvLane | None = None


class MnnModel:
    """Forks and restored sequences are computed again where no cache holds them any more (see `lanes`)."""

    def __init__(self, lanes: Sequence[KvLane], tokenizer: Tokenizer, spec: ModelSpec) -> None:
        self.spec = spec
        self.tokenizer = tokenizer
        self._lanes = list(lanes)
        self._ids = count()
        self._sequences: dict[SequenceId, _MnnSequence] = {}
        self._interrupted = threading.Event()

    def open(self, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        return self._add([], sampling, history)

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        self._watch()
        if sum(len(item.tokens) + len(item.draft) for item in work) > self.spec.batch:
            raise EngineFailed(f"A step takes {self.spec.batch} tokens at most.")
        return [self._finish(item, self._forward(item)) for item in work]

    def fork(self, sequence: SequenceId, length: int, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        return self._add(self._sequences[sequence].tokens[:length], sampling, history)

    def trim(self, sequence: SequenceId, length: int) -> None:
        state = self._sequences[sequence]
        del state.tokens[length:]
        if state.lane is not None:
            state.lane.cut(length)

    def save(self, sequence: SequenceId) -> bytes:
        """The tokens: MNN does not hand out its KV cache, so `restore` begins a computation."""
        body = array(ITEM, self._sequences[sequence].tokens).tobytes()
        return MAGIC + hashlib.sha256(body).digest() + body

    def restore(self, data: bytes, sampling: Sampling, history: Sequence[int] = ()) -> SequenceId:
        start = len(MAGIC) + SUM_BYTES
        if len(data) < start or data[: len(MAGIC)] != MAGIC:
            raise EngineError("The saved state is not one of mnn's sequences.")
        body = data[start:]
        if hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
            raise EngineError("The saved state is damaged.")
        tokens = array(ITEM)
        tokens.frombytes(body)
        return self._add(tokens.tolist(), sampling, history)

    def close(self, sequence: SequenceId) -> None:
        state = self._sequences.pop(sequence)
        if state.lane is not None:
            state.lane.owner = None

    def interrupt(self, on: bool) -> None:
        if on:
            self._interrupted.set()
        else:
            self._interrupted.clear()

    def shutdown(self) -> None:
        self._sequences.clear()
        self._lanes.clear()

    def _add(self, tokens: list[int], sampling: Sampling, history: Sequence[int]) -> SequenceId:
        if len(self._sequences) >= self.spec.sequences:
            raise EngineError(f"All {self.spec.sequences} sequences are open already.")
        sequence = SequenceId(next(self._ids))
        self._sequences[sequence] = _MnnSequence(tokens, Sampler(sampling, history, self.spec.context))
        return sequence

    def _watch(self) -> None:
        if self._interrupted.is_set():
            raise Interrupted("The step was interrupted.")

    def _forward(self, work: Work) -> Logits:
        """Logits of the last token, or with a draft of every one."""
        state = self._sequences[work.sequence]
        lane = self._lane(work.sequence, state)
        for start in range(len(lane.tokens), len(state.tokens), self.spec.batch):
            lane.advance(state.tokens[start : start + self.spec.batch])
            self._watch()
        tokens = [*work.tokens, *work.draft]
        rows = lane.advance(tokens, every=bool(work.draft))
        state.tokens += tokens
        self._watch()
        return rows

    def _lane(self, sequence: SequenceId, state: _MnnSequence) -> KvLane:
        """The sequence's lane, which holds nothing but a prefix of its tokens."""
        if state.lane is None:
            lane, shared = choose_lane(self._lanes, state.tokens)
            if lane.owner is not None:
                self._sequences[lane.owner].lane = None
            lane.cut(shared)
            lane.owner, state.lane = sequence, lane
        return state.lane

    def _finish(self, work: Work, rows: Logits) -> Step:
        """Draw where asked, and take back the guesses that did not come true."""
        if not work.sample:
            return Step()
        state = self._sequences[work.sequence]
        rows = rows[len(rows) - 1 - len(work.draft) :]
        drawn = verify_draft(work, lambda index, mask: state.sampler.draw(rows[index], mask))
        self.trim(work.sequence, len(state.tokens) - len(work.draft) + len(drawn) - 1)
        return state.sampler.tell(drawn, rows)
