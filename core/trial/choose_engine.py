"""Choosing the engine: every candidate is tried in a child process, and the one that decodes fastest is taken.

What a trial found is kept (`core.trial.probe`), so the next choice reads a few small files and starts no child.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.options import LoadOptions
from core.errors import BudgetSpent, EngineFailed
from core.trial.child import Line
from core.trial.probe import Prober
from core.trial.standing import Measured, judge_standing
from core.trial.verdict import ProbeVerdict, Rate


class Candidate(Struct, frozen=True):
    """An engine with the files of a model that it would run."""

    engine: Engine
    location: str
    """`module:Class`, for the child."""
    artifact: Artifact


class CandidateRow(Struct, frozen=True):
    """The result of a candidate: a verdict, or the sentence that says why the verdict is missing."""

    engine: str
    artifact: Artifact
    verdict: ProbeVerdict | None = None
    problem: str | None = None

    @property
    def rate(self) -> Rate | None:
        return self.verdict.best if self.verdict else None


class Selection(Struct, frozen=True):
    """The choice among candidates, and what it rests on. `rows` are in order of preference."""

    rows: tuple[CandidateRow, ...]
    chosen: int | None
    """Index of the row taken; None when no candidate runs."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The story of the choice, a line a candidate."""
        told = [_line(row) for row in self.rows]
        told += [f"[benchmark] {row.verdict.disturbed}" for row in self.rows if row.verdict and row.verdict.disturbed]
        if self.chosen is not None:
            told.append(f"[engine] Selected: {self.rows[self.chosen].engine} ({self._why})")
        return tuple(told)

    @property
    def _why(self) -> str:
        rates = [(row.engine, row.rate) for row in self.rows if row.rate is not None]
        if len(rates) < 2:
            return "the only one that runs"
        standing = judge_standing([Measured(engine, rate.decode, rate.spread) for engine, rate in rates])
        if standing.clear:
            return "fastest"
        rivals = ", ".join(each.name for each in standing.rivals)
        return f"too close to tell from {rivals}: rounds spread by up to {standing.noise:.0%}"


Listener = Callable[[Candidate, Line], None]


class Selector:
    """Tries candidates one after another, never two at once: they would measure each other."""

    def __init__(self, prober: Prober, budget: float, *, fresh: bool = False) -> None:
        self._prober = prober
        self._budget = budget
        self._fresh = fresh

    def select(
        self,
        candidates: Sequence[Candidate],
        options: LoadOptions,
        stop: threading.Event,
        tell: Listener | None = None,
        skip: threading.Event | None = None,
    ) -> Selection:
        """Measure what is not known yet, within the budget as a whole. Blocks. Raises Cancelled on `stop`.

        A candidate for which no time is left has no rate this time; the next choice comes back to it. Once `skip` is
        set the rates so far decide, where there is one.
        """
        end = time.monotonic() + self._budget
        rows: list[CandidateRow] = []
        for index, candidate in enumerate(candidates):
            if skip is not None and skip.is_set() and any(row.rate is not None for row in rows):
                rows.append(CandidateRow(candidate.engine.name, candidate.artifact, problem="not measured: skipped"))
                continue
            left = end - time.monotonic()
            rows.append(self._row(candidate, options, left / (len(candidates) - index), left, stop, tell, skip))
        return Selection(tuple(rows), find_fastest(rows))

    def _row(
        self,
        candidate: Candidate,
        options: LoadOptions,
        share: float,
        left: float,
        stop: threading.Event,
        tell: Listener | None,
        skip: threading.Event | None,
    ) -> CandidateRow:
        name, artifact = candidate.engine.name, candidate.artifact
        try:
            verdict = self._prober.probe(
                candidate.engine,
                candidate.location,
                artifact,
                options,
                stop,
                budget=share,
                limit=left,
                fresh=self._fresh,
                tell=None if tell is None else lambda line: tell(candidate, line),
                skip=skip,
            )
        except BudgetSpent as error:
            return CandidateRow(name, artifact, problem=f"not measured: {error}")
        except EngineFailed as error:
            return CandidateRow(name, artifact, problem=str(error))
        problem = None if verdict.rates else "it refused the model; loading it says why"
        return CandidateRow(name, artifact, verdict, problem)


def find_fastest(rows: Sequence[CandidateRow]) -> int | None:
    """The row that decodes fastest; of candidates that could not be measured, the first that did not fail."""
    measured = [(row.rate.decode, -index) for index, row in enumerate(rows) if row.rate is not None]
    if measured:
        return -max(measured)[1]
    return next((index for index, row in enumerate(rows) if row.verdict is not None), None)


def _line(row: CandidateRow) -> str:
    if row.rate is not None:
        return f"[benchmark] {row.engine}: {row.rate.decode:.1f} tok/s"
    return f"[benchmark] {row.engine}: {row.problem}"
