"""What the flags about measuring mean when a model is loaded, with real trial runs of the built-in model."""

import threading
from pathlib import Path
from typing import Any

import pytest

from core.contract.options import LoadOptions
from core.engines.registry import ENGINES, Engines
from core.models.resolve import resolve_own
from core.serving.pool.loader import TRIAL_SECONDS, ModelLoader
from core.settings.profile import Profile
from core.settings.schema import BenchSettings, Settings
from core.trial.probe import Prober
from core.trial.verdict import ProbeVerdict

GUIDE = resolve_own("guide")
SMALL = Profile(ctx_size=256, slots=1, threads=1)


class Noting(Prober):
    """Notes what is asked of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 60.0)
        self.asked: list[tuple[float, bool]] = []

    def probe(self, *arguments: Any, **how: Any) -> ProbeVerdict:
        self.asked.append((how["budget"], how["fresh"]))
        return super().probe(*arguments, **how)


def load(folder: Path, bench: BenchSettings, times: int = 1) -> list[tuple[float, bool]]:
    """The budgets, and whether kept results were to be measured again, of loading with the only engine."""
    prober = Noting(folder)
    engines = Engines({"llamacpp": ENGINES["llamacpp"]})
    loader = ModelLoader(Settings(bench=bench), engines, prober, LoadOptions(), folder, lambda _: None)
    for _ in range(times):
        loader.load(GUIDE, threading.Event(), lambda _: None, SMALL).model.shutdown()
    return prober.asked


@pytest.mark.parametrize(
    ("bench", "budget"),
    [(BenchSettings(), TRIAL_SECONDS), (BenchSettings(budget=0.5), 0.5), (BenchSettings(enabled=False), 0.0)],
    ids=["usual", "bounded", "none"],
)
def test_a_single_engine_is_measured_no_longer_than_is_allowed(
    tmp_path: Path, bench: BenchSettings, budget: float
) -> None:
    assert load(tmp_path, bench) == [(budget, False)]


def test_rebench_measures_a_single_engine_again_and_only_at_its_first_load(tmp_path: Path) -> None:
    load(tmp_path, BenchSettings())
    assert [fresh for _, fresh in load(tmp_path, BenchSettings(fresh=True), times=3)] == [True, False, False]


def test_the_batch_that_is_asked_for_is_taken_whatever_was_measured_before(tmp_path: Path) -> None:
    load(tmp_path, BenchSettings(enabled=False))
    engines = Engines({"llamacpp": ENGINES["llamacpp"]})
    bench = BenchSettings(enabled=False)
    loader = ModelLoader(Settings(bench=bench), engines, Noting(tmp_path), LoadOptions(), tmp_path, lambda _: None)
    profile = Profile(ctx_size=256, slots=1, threads=1, batch=64)
    model = loader.load(GUIDE, threading.Event(), lambda _: None, profile).model
    assert model.spec.batch == 64
    model.shutdown()
