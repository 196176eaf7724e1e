"""Guesses that what followed the same few tokens before follows them again: quotations, code that is edited, lists.

Needs no model; see "Prompt Lookup Decoding" (Saxena, 2023). Looked up are the sequence itself, prompt and answer, and
what earlier requests of the same owner wrote.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from core.decoding.runs import Occurrence, RunIndex
from core.decoding.speculate import FIRM_TOKENS, MOST_GUESSES, PROMPT_LOOKUP, GuessWish
from core.decoding.text_pool import PooledRun, TextPool

LEARNED_AT_ONCE_TOKENS = 8_192
"""In one step, of long prompts and of what is in the pool: streams wait for a few milliseconds at most."""
LEAD_TOKENS = 8
"""Of the prompt's end that are kept with what was written behind it: how answers begin can be told from them."""


class PromptLookup:
    """Guesses by what was written before."""

    name = PROMPT_LOOKUP
    promised = 0

    def __init__(self) -> None:
        self._pool = TextPool()
        self._lines: dict[Hashable, _LookupLine] = {}
        self.reading = False

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        lines = [self._lines.setdefault(wish.key, _LookupLine()) for wish in wishes]
        left = LEARNED_AT_ONCE_TOKENS
        for waiting, line, wish in zip(range(len(wishes), 0, -1), lines, wishes, strict=True):
            left -= line.learn(wish.tokens, left // waiting)
        left -= self._pool.learn(left)
        self.reading = LEARNED_AT_ONCE_TOKENS - left > len(wishes) * (1 + MOST_GUESSES)
        return [line.advance(wish, self._pool) for line, wish in zip(lines, wishes, strict=True)]

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return [self._lines[wish.key].copy(wish, self._pool) for wish in wishes]

    def forget(self, wish: GuessWish) -> None:
        """What was written stays in the pool."""
        self._lines.pop(wish.key, None)
        if wish.owner is not None:
            self._pool.add(wish.owner, wish.tokens[max(0, wish.prompt - LEAD_TOKENS) :])

    def shutdown(self) -> None:
        self._lines.clear()
        self._pool = TextPool()


class _LookupLine:
    """Where one sequence stands: the run in its own text and the one in the pool that its end goes on with."""

    def __init__(self) -> None:
        self._index = RunIndex()
        self._seen = 0
        """Tokens of the sequence when the runs below were found."""
        self._own: Occurrence | None = None
        self._pooled: PooledRun | None = None
        self._left: Occurrence | None = None
        """The last firm run, where the text left it: an edited copy comes back to its text soon behind."""
        self._left_pooled: PooledRun | None = None

    @property
    def _length(self) -> int:
        """Tokens of the longer run; zero without any."""
        return max(self._own.length if self._own else 0, self._pooled.length if self._pooled else 0)

    def learn(self, tokens: Sequence[int], most: int) -> int:
        """Learn the sequence's next tokens, at most so many; returns how many there were."""
        # What the last token ends foretells nothing yet.
        count = min(most, max(0, len(tokens) - 1 - self._index.learned))
        self._index.learn(tokens, self._index.learned + count)
        return count

    def advance(self, wish: GuessWish, pool: TextPool) -> int:
        """Find the runs at the sequence's end; returns the length of the longer one, zero without any."""
        tokens, drawn = wish.tokens, len(wish.tokens) - self._seen
        if drawn <= 0:
            return self._length
        fresh = list(tokens[-drawn:]) if self._seen else []
        self._seen = len(tokens)
        own, pooled = self._own, self._pooled
        self._own = _go_on(tokens, own, fresh) if own and fresh else None
        self._pooled = _go_on_pooled(pool, pooled, fresh) if pooled and fresh else None
        if self._length >= FIRM_TOKENS:
            return self._length
        if own and own.length >= FIRM_TOKENS:
            self._left = own
        if pooled and pooled.length >= FIRM_TOKENS:
            self._left_pooled = pooled
        self._own = self._index.find(tokens, tokens, self._left.end if self._left else -1)
        if wish.owner is not None:
            self._pooled = pool.find(wish.owner, tokens, self._left_pooled)
        return self._length

    def copy(self, wish: GuessWish, pool: TextPool) -> list[int]:
        """What followed the run, at most as much as is wished for."""
        own, pooled = self._own, self._pooled
        if pooled is not None and pooled.length > (own.length if own else 0):
            pool.touch(pooled)
            return pool.follow(pooled, wish.most)
        return _copy(wish.tokens, own.end, wish.most) if own is not None else []


def _copy(tokens: Sequence[int], start: int, most: int) -> list[int]:
    """The tokens from `start` on. Beyond the end it goes on with itself: what repeats goes on repeating."""
    copied = list(tokens[start : start + most])
    behind = len(copied)
    while len(copied) < most:
        copied.append(copied[len(copied) - behind])
    return copied


def _go_on(tokens: Sequence[int], run: Occurrence, fresh: Sequence[int]) -> Occurrence | None:
    """The run with the fresh tokens, where what stands behind it is the same."""
    end = run.end + len(fresh)
    if end >= len(tokens) or list(tokens[run.end : end]) != fresh:
        return None
    return Occurrence(end, run.length + len(fresh))


def _go_on_pooled(pool: TextPool, run: PooledRun, fresh: Sequence[int]) -> PooledRun | None:
    end = run.end + len(fresh)
    # With one more: what stands at the text's end foretells nothing.
    behind = pool.follow(run, len(fresh) + 1)
    if len(behind) <= len(fresh) or behind[:-1] != fresh:
        return None
    return PooledRun(run.text, end, run.length + len(fresh))
