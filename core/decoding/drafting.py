"""A draft model: a small model of the same vocabulary runs ahead, and the large one verifies what it wrote.

See "Fast Inference from Transformers via Speculative Decoding" (Leviathan et al., arXiv 2211.17192).
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence, Set
from typing import Protocol

from core.contract.models import Tokenizer, TokenModel, Trims
from core.contract.step import SequenceId, Work
from core.decoding.common_prefix import count_common
from core.decoding.speculate import GuessWish
from core.errors import EngineError
from core.requests import Sampling

PADDING_TOKENS = 128
"""Tokens that vocabularies of one family may differ by: some makers fill theirs up with unused ones."""
SAMPLE_TOKENS = 2_048
"""Tokens that are compared before two vocabularies are taken for one."""
STALL_SECONDS = 0.1
"""Seconds of reading a prompt that may hold up running streams in one call."""
SMALLEST_CHUNK_TOKENS = 32
CAUGHT_UP_TOKENS = 16
"""Tokens behind the large model at most, for guesses to be made in the same call."""
MOST_FAILURES = 3
"""Calls in a row that may fail before the draft model is given up."""
FIRST_RUN_TOKENS = 4
"""What a draft model's guess goes by counts as a run so long, and longer by its guesses that came true in a row."""
GREEDY = Sampling(temperature=0.0)
"""The likeliest guess is the one most often drawn, however the large model samples."""


class TrimmingModel(TokenModel, Trims, Protocol):
    """What a draft model must be: one whose sequences may be cut where a guess was wrong."""


class _Line:
    """One sequence of the draft model. `tokens` are those it has computed, `agreed` of them known to be right."""

    def __init__(self, sequence: SequenceId, tokens: list[int]) -> None:
        self.sequence = sequence
        self.tokens = tokens
        self.agreed = len(tokens)
        self.behind = 0
        """Tokens of the sequence when the last guesses were made, and those guesses."""
        self.guesses: list[int] = []
        self.streak = 0
        """Guesses that came true in a row."""

    def count_streak(self, tokens: Sequence[int]) -> int:
        """With what became of the last guesses."""
        right = count_common(self.guesses, list(tokens[self.behind : self.behind + len(self.guesses)]))
        self.streak = self.streak + right if right == len(self.guesses) else 0
        self.guesses = []
        return self.streak


class _Feed:
    """A sequence in the steps of one call: what it computes next, and what it has guessed."""

    def __init__(self, wish: GuessWish, line: _Line, work: Work) -> None:
        self.wish = wish
        self.line = line
        self.work = work
        self.guesses: list[int] = []


class DraftModel:
    """Guesses with a model of its own, greedily. Its sequences follow those of the large model."""

    reading = False

    def __init__(self, name: str, model: TrimmingModel, vocabulary: int) -> None:
        """`vocabulary`: token ids of the large model; the draft's may have more or fewer."""
        self.name = name
        self._model = model
        self._vocabulary = vocabulary
        self._lines: dict[Hashable, _Line] = {}
        self._rate = 0.0
        """Tokens a second that it reads; zero until seen."""
        self._failures = 0
        """Calls in a row that failed."""

    @property
    def promised(self) -> int:
        spec = self._model.spec
        return spec.weight_bytes + spec.cells * spec.kv_bytes_per_token

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        """The more of its last guesses came true in a row, the likelier the next ones are."""
        lines = [self._lines.get(wish.key) for wish in wishes]
        return [
            FIRST_RUN_TOKENS + (line.count_streak(wish.tokens) if line is not None else 0)
            for wish, line in zip(wishes, lines, strict=True)
        ]

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        """A long prompt is caught up with over several calls, so that none takes longer than streams may be held up.
        None of these guesses: what reading costs is spent once, and must not be taken for the price of guesses.

        Raises EngineError when the model fails again and again; a single failure costs its guesses alone.
        """
        try:
            found = self._proposed(wishes)
        except EngineError:
            self._failures += 1
            if self._failures > MOST_FAILURES:
                raise
            # How much of the step reached the KV cache is unknown, so all begin anew.
            for key in list(self._lines):
                self._close(key)
            return [[] for _ in wishes]
        self._failures = 0
        for wish, guesses in zip(wishes, found, strict=True):
            if guesses:
                self._lines[wish.key].behind, self._lines[wish.key].guesses = len(wish.tokens), guesses
        return found

    def forget(self, wish: GuessWish) -> None:
        self._close(wish.key)

    def _close(self, key: Hashable) -> None:
        line = self._lines.pop(key, None)
        if line is not None:
            self._model.close(line.sequence)

    def shutdown(self) -> None:
        self._lines.clear()
        self._model.shutdown()

    def _proposed(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        feeds = self._feeds(wishes)
        running = list(feeds.values())
        while running:
            began = time.perf_counter()
            steps = self._model.step([feed.work for feed in running])
            self._observe(sum(len(feed.work.tokens) for feed in running), time.perf_counter() - began)
            for feed, step in zip(running, steps, strict=True):
                feed.line.tokens += feed.work.tokens
                if step.tokens:
                    self._take(feed, step.tokens[0])
            running = [feed for feed in running if self._goes_on(feed)]
        return [feeds[index].guesses if index in feeds else [] for index in range(len(wishes))]

    def _feeds(self, wishes: Sequence[GuessWish]) -> dict[int, _Feed]:
        """The first step's work, by the index of the wish; without those for which there is no room now."""
        feeds: dict[int, _Feed] = {}
        room = min(self._model.spec.batch, max(SMALLEST_CHUNK_TOKENS, int(self._rate * STALL_SECONDS)))
        for index, wish in enumerate(wishes):
            if not room or not wish.most:
                continue
            if not (self._fits(wish, wishes) or (self._drop_idle(wishes) and self._fits(wish, wishes))):
                continue
            line = self._line(wish, wishes)
            if line is None:
                continue
            missing = wish.tokens[len(line.tokens) :]
            chunk = list(missing[:room])
            if any(token >= self._model.tokenizer.size for token in chunk):
                # A token that makers of the family added to the large model alone.
                continue
            room -= len(chunk)
            level = len(chunk) == len(missing) <= CAUGHT_UP_TOKENS
            feeds[index] = _Feed(wish, line, Work(line.sequence, chunk, sample=level))
        behind = {index: feed for index, feed in feeds.items() if not feed.work.sample}
        return behind or feeds

    def _fits(self, wish: GuessWish, wishes: Sequence[GuessWish]) -> bool:
        """Whether there are cells for the sequence to its end of this call, beside all the others to theirs."""
        spec = self._model.spec
        length = len(wish.tokens) + wish.most
        taken = {key: len(line.tokens) for key, line in self._lines.items()}
        taken |= {each.key: len(each.tokens) + each.most for each in wishes if each.key in taken}
        taken[wish.key] = length
        return length <= spec.context and sum(taken.values()) <= spec.cells

    def _drop_idle(self, wishes: Sequence[GuessWish]) -> bool:
        """Forget the sequences that no caller wants continued now; whether there were any."""
        wanted = {wish.key for wish in wishes}
        idle = [key for key in self._lines if key not in wanted]
        for key in idle:
            self._close(key)
        return bool(idle)

    def _line(self, wish: GuessWish, wishes: Sequence[GuessWish]) -> _Line | None:
        """The draft's sequence, cut back to what is right of it; None where no more may be open."""
        line = self._lines.get(wish.key)
        if line is None:
            if not self._sequence_free({each.key for each in wishes}):
                return None
            line = self._lines[wish.key] = self._begun(wish)
        right = line.agreed + count_common(line.tokens[line.agreed :], list(wish.tokens[line.agreed :]))
        # The last token is always computed anew: what follows it is drawn from that.
        line.agreed = min(right, len(wish.tokens) - 1)
        if line.agreed < len(line.tokens):
            self._model.trim(line.sequence, line.agreed)
            del line.tokens[line.agreed :]
        return line

    def _sequence_free(self, wanted: Set[Hashable]) -> bool:
        """Whether one more may be opened, at the cost of one that is not `wanted` now."""
        if len(self._lines) < self._model.spec.sequences:
            return True
        idle = next((key for key in self._lines if key not in wanted), None)
        if idle is not None:
            self._close(idle)
        return idle is not None

    def _begun(self, wish: GuessWish) -> _Line:
        """A new sequence, with what the most similar one has computed of it already."""
        tokens = list(wish.tokens)
        shared = {key: count_common(line.tokens, tokens) for key, line in self._lines.items()}
        best = max(shared, key=shared.__getitem__, default=None)
        if best is None or not shared[best]:
            return _Line(self._model.open(GREEDY), [])
        sequence = self._model.fork(self._lines[best].sequence, shared[best], GREEDY)
        return _Line(sequence, tokens[: shared[best]])

    def _take(self, feed: _Feed, token: int) -> None:
        """Take a guess, and plan the step behind it."""
        if token < self._vocabulary:
            feed.guesses.append(token)
        feed.work = Work(feed.work.sequence, [token], sample=True)

    def _goes_on(self, feed: _Feed) -> bool:
        """Whether there is to be another guess: none behind the end, or behind what the large model does not know."""
        guesses = feed.guesses
        if not guesses or len(guesses) >= feed.wish.most:
            return False
        return feed.work.tokens[0] == guesses[-1] and not self._model.tokenizer.is_end(guesses[-1])

    def _observe(self, tokens: int, seconds: float) -> None:
        if tokens >= SMALLEST_CHUNK_TOKENS:
            rate = tokens / max(seconds, 1e-6)
            self._rate += (rate - self._rate) * (0.3 if self._rate else 1.0)


def compare_vocabularies(draft: Tokenizer, large: Tokenizer) -> str | None:
    """What tells the two vocabularies apart; None where guesses of one stand for the same text in the other."""
    if difference := compare_sizes(draft.size, large.size):
        return difference
    shared = min(draft.size, large.size)
    for token in range(0, shared, max(1, shared // SAMPLE_TOKENS)):
        if draft.piece(token) != large.piece(token) or draft.is_end(token) != large.is_end(token):
            return f"its token {token} is another"
    return None


def compare_sizes(draft: int, large: int) -> str | None:
    """As `compare_vocabularies`, by the numbers of tokens alone."""
    return f"it knows {draft:,} tokens, not {large:,}" if abs(draft - large) > PADDING_TOKENS else None
