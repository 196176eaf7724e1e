"""Speculation: guesses at the tokens to come, which the model verifies in the pass that computes the token due.

A step keeps a guess only where it equals what the model draws there (`core.contract.step.Work`), so the
output has the model's own distribution whatever is guessed; good guesses only save passes. Bad ones cost, so both are
measured all the time: seconds a token with guesses, and without.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from core.contract.models import Model, TakesBack, Trims
from core.contract.step import SequenceId
from core.decoding.balance import Balance
from core.decoding.guess_plan import Odds, PassCosts, choose_counts
from core.snapshots import DraftStats, PositionStats

PROMPT_LOOKUP = "prompt-lookup"
MTP = "mtp"
NOTHING = "none"
MOST_GUESSES = 31
"""For one sequence in one step: with the token due they are 32, to which the tiles of matrix kernels divide."""
FIRM_TOKENS = 8
"""A run so long is firm: while it goes on no longer one is looked for, and guesses that go by it are made while others
rest."""
SEARCH_SHARE = 0.005
"""Of the time, for which it is looked while guesses rest whether a text is copied: where a look takes a larger share of
a step, there is none in each."""
SMOOTHING_SHARE = 0.3


class GuessWish(Struct, frozen=True):
    """A sequence of which the next tokens are to be guessed."""

    key: Hashable
    """What the sequence is known by; the same from step to step."""
    tokens: Sequence[int]
    """All of it, prompt and drawn; only ever grows."""
    most: int
    """Guesses that may be made."""
    prompt: int = 0
    """Tokens of the prompt."""
    owner: str | None = None
    """Whose it is: what is written for one owner helps to guess for no other. None: what it writes is not kept, and
    nothing that was kept is used."""
    sequence: SequenceId | None = None
    """What the model knows it by."""


class Proposer(Protocol):
    """Something that guesses. Belongs to the thread of the loop it guesses for."""

    @property
    def name(self) -> str: ...

    @property
    def promised(self) -> int:
        """Bytes of memory that it will take in the end."""
        ...

    @property
    def reading(self) -> bool:
        """Whether the last `weigh` took longer than usual, for it read what need not be read again."""
        ...

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        """How far there is something to go by: for each wish a number of tokens, the more the likelier the guesses;
        zero where there would be none. Cheap beside `propose`, if that is not cheap itself."""
        ...

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        """For each wish at most so many tokens, none where there is nothing to go by. The sequences are those that were
        weighed last. Raises EngineError."""
        ...

    def forget(self, wish: GuessWish) -> None:
        """The sequence has ended, and was this at last; also told of ones that were never seen."""
        ...

    def shutdown(self) -> None:
        """Free everything; idempotent."""
        ...


class GuessOutcome(Struct, frozen=True):
    """What became of one sequence's guesses in a step."""

    key: Hashable
    guessed: int
    kept: int


class Speculation:
    """Guesses for the running sequences of one model: how many for each, and whether at all."""

    def __init__(self, proposer: Proposer, rows: int = 1 + MOST_GUESSES) -> None:
        """`rows`: tokens, guessed and due, that a step may draw behind."""
        self._proposer = proposer
        self._rows = rows
        self._odds = Odds()
        self._balances: dict[int, Balance] = {}
        self._costs: dict[int, PassCosts] = {}
        self._wishes: dict[Hashable, GuessWish] = {}
        self._runs: dict[Hashable, int] = {}
        """What the guesses of the step under way go by."""
        self._running = 0
        """Sequences of the step under way, also those that fall out of it before it is computed."""
        self._weighing = 0.0
        self._drafting = 0.0
        """Seconds that the guesses of the step took to choose, and to make."""
        self._search_debt = 0.0
        """Seconds that looking took while guesses rest, beyond SEARCH_SHARE of the steps since."""
        self._rounds: dict[bool, float] = {}
        """Seconds that one guess for each sequence takes to make, smoothed; by whether it goes by a firm run. Some
        proposers look these up, and compute the others."""
        self._stats = DraftStats(proposer.name)

    @property
    def spent(self) -> float:
        """Seconds that the last guesses took."""
        return self._weighing + self._drafting

    @property
    def stats(self) -> DraftStats:
        """From any thread."""
        return self._stats

    def guesses(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        """For a step in which every sequence decodes. Raises EngineError as the proposer does."""
        self._wishes.update((wish.key, wish) for wish in wishes)
        self._running, self._weighing, self._drafting = len(wishes), 0.0, 0.0
        none: list[list[int]] = [[] for _ in wishes]
        balance = self._balance(len(wishes))
        if not balance.guesses or (balance.rests and self._owes_time(balance)):
            return none
        began = time.perf_counter()
        runs = self._proposer.weigh(wishes)
        counts = self._counts(wishes, runs) if any(runs) else [0] * len(wishes)
        chosen = time.perf_counter()
        self._weighing = chosen - began
        if balance.rests and not self._proposer.reading:
            self._search_debt = max(0.0, self._search_debt + self._weighing - SEARCH_SHARE * balance.usual)
        if not any(counts):
            return none
        self._runs = {wish.key: run for wish, run in zip(wishes, runs, strict=True)}
        found = self._proposer.propose([replace(wish, most=count) for wish, count in zip(wishes, counts, strict=True)])
        self._drafting = time.perf_counter() - chosen
        self._learn_round(runs, found)
        return found

    def learn(self, outcomes: Sequence[GuessOutcome], seconds: float) -> None:
        """What came of the last guesses, and how long the step took that verified them."""
        guessed, kept = (sum(outcome.guessed for outcome in outcomes), sum(outcome.kept for outcome in outcomes))
        balance = self._balance(self._running)
        if not guessed:
            # What a draft model takes to read, a prompt or what was written while it rested, is no part of what a
            # step costs. It is not held against the guesses either, and so it comes on top of LOSS_SHARE.
            balance.plain(seconds, self._weighing)
            self._book(self.spent, outcomes)
            return
        self._pass_costs(self._running).learn(self._running + guessed, seconds / balance.usual)
        for outcome in outcomes:
            self._odds.learn(self._runs.get(outcome.key, 0), outcome.guessed, outcome.kept)
        self._book(balance.guessed(self.spent + seconds, kept), outcomes)

    def forget(self, key: Hashable) -> None:
        wish = self._wishes.pop(key, None)
        if wish is not None:
            self._proposer.forget(wish)

    def shutdown(self) -> None:
        self._wishes.clear()
        self._runs.clear()
        self._proposer.shutdown()

    def _learn_round(self, runs: Sequence[int], found: Sequence[Sequence[int]]) -> None:
        longest = {False: 0, True: 0}
        for run, guesses in zip(runs, found, strict=True):
            longest[run >= FIRM_TOKENS] = max(longest[run >= FIRM_TOKENS], len(guesses))
        # Where there are both, those by firm runs took less.
        firm = not longest[False]
        if longest[firm]:
            seconds = self._drafting / longest[firm]
            before = self._rounds.get(firm, seconds)
            self._rounds[firm] = before + (seconds - before) * SMOOTHING_SHARE

    def _round(self, run: int) -> float:
        firm = run >= FIRM_TOKENS
        return self._rounds.get(firm, self._rounds.get(not firm, 0.0))

    def _owes_time(self, balance: Balance) -> bool:
        """Whether there is to be no look in this step, for earlier ones took too long; the step pays for its share."""
        if self._search_debt <= 0:
            return False
        self._search_debt -= SEARCH_SHARE * balance.usual
        return True

    def _counts(self, wishes: Sequence[GuessWish], runs: Sequence[int]) -> list[int]:
        """How many guesses for each."""
        count = len(wishes)
        balance = self._balance(count)
        if balance.rests:
            # A text that is copied comes all at once, and is soon over.
            runs = [run if run >= FIRM_TOKENS else 0 for run in runs]
        # A chance run is short, and must not cost a wide pass.
        most = [
            max(0, min(wish.most, MOST_GUESSES, run, self._rows - count))
            for wish, run in zip(wishes, runs, strict=True)
        ]
        widths = self._pass_costs(count).list_widths(self._rows)
        drafting = [self._round(run) / balance.usual for run in runs]
        counts = choose_counts(runs, most, self._odds, widths, drafting=drafting, least_gain=balance.least_gain)
        if any(counts) or not balance.affords_trial:
            return counts
        # What came true seldom may come true more often by now.
        tried = max((index for index in range(count) if most[index]), key=lambda index: runs[index], default=None)
        return [int(index == tried) for index in range(count)]

    def _book(self, lost: float, outcomes: Sequence[GuessOutcome]) -> None:
        """Count what came true, and the seconds lost, negative for gained ones."""
        before = self._stats
        positions = list(before.positions)
        for outcome in outcomes:
            positions += [PositionStats()] * (outcome.guessed - len(positions))
            for index in range(outcome.guessed):
                old = positions[index]
                positions[index] = PositionStats(old.guessed + 1, old.kept + (index < outcome.kept))
        self._stats = DraftStats(
            self._proposer.name,
            before.guessed + sum(outcome.guessed for outcome in outcomes),
            before.kept + sum(outcome.kept for outcome in outcomes),
            tuple(positions),
            before.seconds_lost + max(0.0, lost),
            before.seconds_gained + max(0.0, -lost),
        )

    def _balance(self, sequences: int) -> Balance:
        return self._balances.setdefault(sequences, Balance(sequences))

    def _pass_costs(self, sequences: int) -> PassCosts:
        return self._costs.setdefault(sequences, PassCosts(sequences))


def count_retractable(model: Model) -> int:
    """Guesses for a sequence in one step of which the model takes back those that are wrong."""
    if isinstance(model, Trims):
        return MOST_GUESSES
    return model.most_taken_back if isinstance(model, TakesBack) else 0


def tell_why_unguessed(model: Model) -> str | None:
    """Why nothing can be guessed ahead for a model, as a clause; None where it can."""
    if not count_retractable(model):
        return "a wrong guess could not be taken back"
    if model.spec.grain is not None:
        return "what is to be reproducible is computed token by token"
    return None
