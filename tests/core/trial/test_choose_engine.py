"""The engine is chosen by what was measured on this machine."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import EchoEngine, EchoModel
from core.guide import WEIGHTS
from core.trial.child import Line, Sampled
from core.trial.choose_engine import Candidate, CandidateRow, Selection, Selector, find_fastest
from core.trial.probe import Prober
from core.trial.verdict import ProbeVerdict, Rate

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)


class Quick(EchoEngine):
    name = "quick"


class SlowEcho(EchoModel):
    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(0.003)
        return super().step(work)


class Slow(EchoEngine):
    name = "slow"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return SlowEcho(options)


class Crashing(EchoEngine):
    name = "crashing"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        os.abort()


def candidate(engine: EchoEngine) -> Candidate:
    return Candidate(engine, f"{__name__}:{type(engine).__name__}", GUIDE)


@pytest.fixture
def prober(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prober:
    # The child must find this module's engines.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return Prober(tmp_path, timeout=20.0)


def test_the_fastest_is_selected_and_a_crash_is_a_row_like_any_other(prober: Prober) -> None:
    told: list[tuple[str, Line]] = []
    selection = Selector(prober, budget=60.0).select(
        [candidate(Slow()), candidate(Crashing()), candidate(Quick())],
        LoadOptions(),
        threading.Event(),
        lambda who, line: told.append((who.engine.name, line)),
    )
    assert selection.chosen == 2
    assert selection.rows[1].problem is not None
    assert "crashed with SIGABRT" in selection.rows[1].problem or os.name == "nt"
    lines = selection.lines
    assert lines[0].startswith("[benchmark] slow: ")
    assert lines[0].endswith(" tok/s")
    assert lines[-1] == "[engine] Selected: quick (fastest)"
    assert {name for name, line in told if isinstance(line, Sampled)} == {"slow", "quick"}


def test_a_second_choice_starts_no_child(prober: Prober) -> None:
    candidates = [candidate(Slow()), candidate(Quick())]
    selector = Selector(prober, budget=60.0)
    first = selector.select(candidates, LoadOptions(), threading.Event())
    nowhere = [Candidate(each.engine, "no.such:Engine", GUIDE) for each in candidates]
    assert selector.select(nowhere, LoadOptions(), threading.Event()) == first


def test_when_none_runs_nothing_is_chosen_and_each_says_why(prober: Prober) -> None:
    selection = Selector(prober, budget=60.0).select([candidate(Crashing())], LoadOptions(), threading.Event())
    assert selection.chosen is None
    assert len(selection.lines) == 1
    assert "safest settings" in selection.lines[0]


class Sleepy(EchoEngine):
    name = "sleepy"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        time.sleep(600)
        return EchoModel(options)


def test_the_budget_is_never_exceeded_and_what_was_not_measured_is_not_held_against_an_engine(prober: Prober) -> None:
    candidates = [candidate(Quick()), candidate(Sleepy())]
    selection = Selector(prober, budget=6.0).select(candidates, LoadOptions(), threading.Event())
    assert selection.chosen == 0
    assert selection.rows[1].problem is not None
    assert selection.rows[1].problem.startswith("not measured")
    assert prober.kept(Sleepy(), GUIDE, LoadOptions()) is None


def row(engine: str, decode: float | None) -> CandidateRow:
    rates = () if decode is None else (Rate(LoadOptions(), 1, decode, 1.0, 0.1, 0.0),)
    return CandidateRow(engine, GUIDE, ProbeVerdict(engine, "1", "guide", "m", LoadOptions(), rates))


def test_ties_and_unmeasured_candidates_go_by_preference() -> None:
    assert find_fastest([row("a", 10.0), row("b", 10.0)]) == 0
    assert find_fastest([row("a", None), row("b", 5.0)]) == 1
    assert find_fastest([row("a", None), row("b", None)]) == 0
    assert find_fastest([CandidateRow("a", GUIDE, problem="no")]) is None
    assert find_fastest([]) is None


def test_a_single_candidate_is_not_called_the_fastest() -> None:
    assert Selection((row("a", 10.0),), 0).lines[-1] == "[engine] Selected: a (the only one that runs)"
