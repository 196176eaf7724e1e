"""Speculation in a serving loop: it adds guesses to a step that has room for them, and learns which came true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from core.contract.models import TokenModel
from core.contract.step import Step, Work
from core.decoding.speculate import (
    GuessOutcome,
    GuessWish,
    Proposer,
    Speculation,
    count_retractable,
    tell_why_unguessed,
)
from core.models.fit.sizing import count_drawn_rows
from core.serving.sequence import ServedChoice
from core.snapshots import DraftStats
from core.telemetry.log import get_logger

Result = TypeVar("Result")
Steps = list[tuple[ServedChoice, Work]]
log = get_logger(__name__)


class Guesser:
    """Belongs to the loop's thread, save `stats`. Without a proposer it does nothing."""

    def __init__(self, model: TokenModel, proposer: Proposer | None) -> None:
        self._speculation = Speculation(proposer, count_drawn_rows(model.spec)) if proposer is not None else None
        self._problem = ""
        self._most = count_retractable(model)
        if self._speculation is not None and (why := tell_why_unguessed(model)):
            self._give_up(why)

    def stats(self) -> DraftStats | None:
        """From any thread."""
        speculation = self._speculation
        return None if speculation is None else replace(speculation.stats, problem=self._problem)

    @property
    def spent(self) -> float:
        """Seconds that the last guesses took."""
        return self._speculation.spent if self._speculation is not None and not self._problem else 0.0

    @property
    def _idle(self) -> bool:
        return self._speculation is None or bool(self._problem)

    def extend(self, work: Steps) -> Steps:
        """The same work, with guesses where all sequences decode.

        Guesses take none but cells that are claimed already, so that they push nobody out, and never go beyond the
        tokens that were asked for.
        """
        if self._idle or not work or any(len(item.tokens) > 1 for _, item in work):
            return work
        wishes = [self._wish(choice) for choice, _ in work]
        guesses = self._guarded(lambda speculation: speculation.guesses(wishes))
        if guesses is None:
            return work
        return [(choice, replace(item, draft=guess)) for (choice, item), guess in zip(work, guesses, strict=True)]

    def learn(self, work: Steps, steps: Sequence[Step], seconds: float) -> None:
        """Take account of what the step drew, and of its seconds."""
        if self._idle or any(len(item.tokens) > 1 for _, item in work):
            return
        outcomes = []
        for (choice, item), step in zip(work, steps, strict=True):
            kept = len(step.tokens) - 1 if item.draft else 0
            outcomes.append(GuessOutcome(choice, len(item.draft), kept))
            choice.job.guessed += len(item.draft)
            choice.job.kept += kept
        self._guarded(lambda speculation: speculation.learn(outcomes, seconds))

    def forget(self, choice: ServedChoice) -> None:
        """The choice has ended."""
        self._guarded(lambda speculation: speculation.forget(choice))

    def shutdown(self) -> None:
        """Free the draft model; idempotent."""
        self._guarded(lambda speculation: speculation.shutdown())

    def _wish(self, choice: ServedChoice) -> GuessWish:
        job = choice.job
        owner = job.owner if job.request.cache else None
        return GuessWish(choice, choice.tokens, min(choice.spare, self._most), len(job.prompt), owner, choice.sequence)

    def _guarded(self, act: Callable[[Speculation], Result]) -> Result | None:
        """What `act` returns. None where nothing is guessed, and where `act` fails: nothing is guessed afterwards."""
        if self._speculation is None or self._problem:
            return None
        try:
            return act(self._speculation)
        except Exception as error:
            # The edge of the draft model: it may fail in any way, and no request depends on it.
            log.exception("draft failed", draft=self._speculation.stats.by)
            self._give_up(f"it failed: {error}")
            return None

    def _give_up(self, why: str) -> None:
        self._problem = why
        assert self._speculation is not None
        try:
            self._speculation.shutdown()
        except Exception:
            # As above; its memory stays taken until the process ends.
            log.exception("draft was not freed", draft=self._speculation.stats.by)
