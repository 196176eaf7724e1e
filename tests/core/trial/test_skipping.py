"""A trial run says what it is at, and who waits for it can have done with it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from core.contract.options import LoadOptions
from core.trial.child import Line, Sampled, Settled, VariantLoaded
from core.trial.probe import ROUNDS, Prober
from core.trial.steps import TrialSteps
from tests.core.trial.test_probe import GUIDE, Choosy

if TYPE_CHECKING:
    import pytest


def test_each_round_is_told_with_what_was_found() -> None:
    steps = TrialSteps("llamacpp", 4)
    lines = (VariantLoaded(0, 0.1), Sampled(0, 1, 50.0, 12.4, 0.1), VariantLoaded(1, 0.1), Settled(0, 1, 1))
    assert [steps.describe(line) for line in lines] == [
        "measuring llamacpp, round 1 of 4",
        "measuring llamacpp, round 2 of 4: 12 tok/s",
        "measuring llamacpp, setting 2, round 1 of 4",
        "weighing what llamacpp takes of memory",
    ]


def test_once_it_is_skipped_the_rounds_so_far_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    prober, skip, told = Prober(tmp_path, timeout=20.0), threading.Event(), list[Line]()

    def hear(line: Line) -> None:
        told.append(line)
        if isinstance(line, Sampled):
            skip.set()

    verdict = prober.probe(
        Choosy(), f"{Choosy.__module__}:Choosy", GUIDE, LoadOptions(threads=1), threading.Event(), tell=hear, skip=skip
    )
    assert 1 <= sum(isinstance(line, Sampled) for line in told) < 2 * ROUNDS
    assert verdict.best is not None
    assert {rate.options for rate in verdict.rates} == {verdict.options}
