"""Speculation: guesses at the tokens to come, which the model verifies in the pass that computes the token due.

A step keeps a guess only where it equals what the model draws there (`core.contract.step.Work`), so the
output has the model's own distribution whatever is guessed; good guesses only save passes. Bad ones cost, so both are
measured all the time: seconds a token with guesses, and without.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Sequence
from statistics import median
from typing import Protocol

from msgspec import Struct

from core.snapshots import DraftStats

PROMPT_LOOKUP = "prompt-lookup"
NOTHING = "none"
MOST_GUESSES = 7
"""With the token due they are the eight tokens that a sequence may draw in one step."""
FIRST_GUESSES = 4
RUN_TOKENS = (3, 2)
"""Lengths of the runs of tokens that are looked up, the longer first."""

FIRST_PLAIN_STEPS = 5
"""Steps without guesses that tell what one costs, before the first with guesses."""
STEPS_BETWEEN_PLAIN = 32
"""Steps with guesses in a row, before one without tells what it costs now."""
OVERDRAFT_STEPS = 2.0
"""Plain steps' worth of time that guesses may lose before they rest."""
LOSS_SHARE = 0.03
"""Share of the time that guesses which never pay may cost: each plain step pays off so much of what was lost."""
CREDIT_STEPS = 8.0
"""Plain steps' worth of gain that is remembered; more would let guesses go on for long after they ceased to pay."""
RECENT_STEPS = 9
"""Plain steps whose median is what one costs: a disturbance of one of them must not count."""


class GuessWish(Struct, frozen=True):
    """A sequence of which the next tokens are to be guessed."""

    key: Hashable
    """What the sequence is known by; the same from step to step."""
    tokens: Sequence[int]
    """All of it, prompt and drawn; only ever grows."""
    most: int
    """Guesses that may be made."""


class Proposer(Protocol):
    """Something that guesses. Belongs to the thread of the loop it guesses for."""

    @property
    def name(self) -> str: ...

    @property
    def promised(self) -> int:
        """Bytes of memory that it will take in the end."""
        ...

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        """For each wish at most so many tokens, none where there is nothing to go by. Raises EngineError."""
        ...

    def forget(self, key: Hashable) -> None:
        """The sequence has ended; also told of ones that were never seen."""
        ...

    def shutdown(self) -> None:
        """Free everything; idempotent."""
        ...


class PromptLookup:
    """Guesses that what followed the same few tokens before follows them again: quotations, code that is edited, lists.

    Needs no model; see "Prompt Lookup Decoding" (Saxena, 2023).
    """

    name = PROMPT_LOOKUP
    promised = 0

    def __init__(self) -> None:
        self._indexes: dict[Hashable, _RunIndex] = {}

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return [self._indexes.setdefault(wish.key, _RunIndex()).follow(wish.tokens, wish.most) for wish in wishes]

    def forget(self, key: Hashable) -> None:
        self._indexes.pop(key, None)

    def shutdown(self) -> None:
        self._indexes.clear()


class _RunIndex:
    """Where each run of tokens of one sequence was last continued."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._seen = 0
        """Runs that end behind so many tokens or fewer are in."""

    def follow(self, tokens: Sequence[int], most: int) -> list[int]:
        self._learn(tokens)
        for length in RUN_TOKENS:
            start = self._ends.get(tuple(tokens[-length:]))
            if start is not None:
                return _continued(tokens, start, most)
        return []

    def _learn(self, tokens: Sequence[int]) -> None:
        """All runs but those at the very end, which nothing has followed yet."""
        for end in range(self._seen + 1, len(tokens)):
            for length in RUN_TOKENS:
                if end >= length:
                    self._ends[tuple(tokens[end - length : end])] = end
        self._seen = max(self._seen, len(tokens) - 1)


def _continued(tokens: Sequence[int], start: int, most: int) -> list[int]:
    """The tokens from `start` on. Beyond the end it goes on with itself: what repeats goes on repeating."""
    copied: list[int] = []
    for at in range(start, start + most):
        copied.append(tokens[at] if at < len(tokens) else copied[at - len(tokens)])
    return copied


class Balance:
    """Whether guesses pay with one number of sequences: time lost by steps with guesses, against plain ones."""

    def __init__(self, sequences: int) -> None:
        self._sequences = sequences
        self._recent: deque[float] = deque(maxlen=RECENT_STEPS)
        """Seconds of the last plain steps."""
        self._guessed = 0
        """Steps with guesses since the last plain one."""
        self._lost = 0.0
        """Seconds; negative for gains."""
        self._resting = False

    @property
    def guesses(self) -> bool:
        """Whether the next step is to be one with guesses."""
        return len(self._recent) >= FIRST_PLAIN_STEPS and self._guessed < STEPS_BETWEEN_PLAIN and not self._resting

    def plain(self, seconds: float) -> None:
        """A step without guesses took so long."""
        self._recent.append(seconds)
        self._guessed = 0
        self._book(-LOSS_SHARE * median(self._recent))

    def guessed(self, seconds: float, kept: int) -> None:
        """A step with guesses took so long, making them included; `kept` of them came true."""
        self._guessed += 1
        self._book(seconds - median(self._recent) * (1 + kept / self._sequences))

    def _book(self, lost: float) -> None:
        usual = median(self._recent)
        self._lost = max(self._lost + lost, -CREDIT_STEPS * usual)
        self._resting = self._lost > (0.0 if self._resting else OVERDRAFT_STEPS * usual)


class GuessOutcome(Struct, frozen=True):
    """What became of one sequence's guesses in a step."""

    key: Hashable
    guessed: int
    kept: int


class Speculation:
    """Guesses for the running sequences of one model: how many for each, and whether at all."""

    def __init__(self, proposer: Proposer, most: int = MOST_GUESSES) -> None:
        self._proposer = proposer
        self._most = most
        self._balances: dict[int, Balance] = {}
        self._lengths: dict[Hashable, int] = {}
        self._spent = 0.0
        self._stats = DraftStats(proposer.name)

    @property
    def spent(self) -> float:
        """Seconds that the last guesses took."""
        return self._spent

    @property
    def stats(self) -> DraftStats:
        """From any thread."""
        return self._stats

    def guesses(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        """For a step in which every sequence decodes. Raises EngineError as the proposer does."""
        for wish in wishes:
            if wish.key not in self._lengths:
                self._lengths[wish.key] = min(self._most, FIRST_GUESSES)
        self._spent = 0.0
        if not self._balance(len(wishes)).guesses:
            return [[] for _ in wishes]
        began = time.perf_counter()
        bounded = [GuessWish(wish.key, wish.tokens, max(0, min(wish.most, self._lengths[wish.key]))) for wish in wishes]
        found = self._proposer.propose(bounded)
        self._spent = time.perf_counter() - began
        return found

    def learn(self, outcomes: Sequence[GuessOutcome], seconds: float) -> None:
        """What came of the last guesses, and how long the step took that verified them."""
        guessed, kept = (sum(outcome.guessed for outcome in outcomes), sum(outcome.kept for outcome in outcomes))
        balance = self._balance(len(outcomes))
        if guessed:
            balance.guessed(self._spent + seconds, kept)
        else:
            # What a draft model takes to read, a prompt or what was written while it rested, is no part of what a
            # step costs. It is not held against the guesses either, and so it comes on top of LOSS_SHARE.
            balance.plain(seconds)
        for outcome in outcomes:
            if outcome.guessed and outcome.key in self._lengths:
                self._lengths[outcome.key] = self._length_after(outcome)
        if guessed:
            before = self._stats
            self._stats = DraftStats(before.by, before.guessed + guessed, before.kept + kept)

    def forget(self, key: Hashable) -> None:
        if self._lengths.pop(key, None) is not None:
            self._proposer.forget(key)

    def shutdown(self) -> None:
        self._proposer.shutdown()

    def _length_after(self, outcome: GuessOutcome) -> int:
        """Twice as many after all came true, else one more than did."""
        if outcome.kept == outcome.guessed:
            return min(self._most, max(self._lengths[outcome.key], 2 * outcome.guessed))
        return min(self._most, outcome.kept + 1)

    def _balance(self, sequences: int) -> Balance:
        return self._balances.setdefault(sequences, Balance(sequences))
