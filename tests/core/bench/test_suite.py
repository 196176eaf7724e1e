"""The suite measures each case in a child of its own, and a case that goes wrong is a row."""

import os
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.bench.suite import CaseDone, CaseSampled, CaseStarted, SuiteEvent, SuitePlan, parse_sweeps, run_suite
from core.contract.abilities import BatchSize
from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadOptions, LoadProgress, ignore_progress
from core.engines.echo import EchoEngine, EchoModel
from core.errors import Cancelled, UsageError
from core.guide import WEIGHTS
from core.trial.choose_engine import Candidate

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
PLAN = SuitePlan(rounds=2, prompt=16, decoded=8)


class CrashesDeep(EchoEngine):
    """Dies with a long context, as an engine does that runs out of something."""

    name = "deep"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if (options.ctx_size or 0) > 3_000:
            os._exit(7)
        return EchoModel(options)


class Dividing(EchoEngine):
    """Refuses to be loaded without a micro-batch."""

    name = "dividing"

    def sizes(self, _: Artifact, options: LoadOptions) -> list[BatchSize]:
        return [BatchSize(options.step_tokens, options.pass_tokens)]

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if options.micro_batch is None:
            os._exit(8)
        return EchoModel(options)


@pytest.fixture(autouse=True)
def _children_find_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


def candidate(engine: EchoEngine, location: str) -> tuple[Candidate, LoadOptions]:
    return Candidate(engine, location, GUIDE), LoadOptions(threads=1)


ECHO = candidate(EchoEngine(), "core.engines.echo:EchoEngine")
DIVIDING = candidate(Dividing(), f"{__name__}:Dividing")
DEEP = candidate(CrashesDeep(), f"{__name__}:CrashesDeep")


def test_every_candidate_is_measured_with_every_setting_and_told_live() -> None:
    told: list[SuiteEvent] = []
    plan = parse_sweeps(["batch=64,128", "kv=f16,q8_0"], PLAN)
    run = run_suite([ECHO], plan, 20.0, threading.Event(), told.append)
    assert [(row.setting.batch, row.setting.kv_type) for row in run.rows] == [
        (64, KvType.F16),
        (64, KvType.Q8_0),
        (128, KvType.F16),
        (128, KvType.Q8_0),
    ]
    assert all(row.decode > 0 and row.prefill > 0 and row.memory > 0 and row.rounds == 2 for row in run.rows)
    assert sum(isinstance(event, CaseStarted) for event in told) == 4
    assert sum(isinstance(event, CaseSampled) for event in told) == 8
    assert [event.row for event in told if isinstance(event, CaseDone)] == list(run.rows)


def test_each_micro_batch_is_a_case_of_engines_that_divide_steps_and_never_larger_than_the_batch() -> None:
    plan = parse_sweeps(["batch=64,128", "micro_batch=64,512"], PLAN)
    run = run_suite([DIVIDING, ECHO], plan, 20.0, threading.Event(), lambda _: None)
    assert [(row.setting.engine, row.setting.batch, row.setting.micro_batch, row.problem) for row in run.rows] == [
        ("dividing", 64, None, None),
        ("dividing", 128, 64, None),
        ("dividing", 128, None, None),
        ("echo", 64, None, None),
        ("echo", 128, None, None),
    ]
    assert [row.setting.divides for row in run.rows] == [True, True, True, False, False]


def test_sizes_that_are_not_swept_are_those_that_the_trial_run_found() -> None:
    who, options = DIVIDING
    found = who, replace(options, batch=256, micro_batch=64)
    run = run_suite([found], PLAN, 20.0, threading.Event(), lambda _: None)
    assert [(row.setting.batch, row.setting.micro_batch) for row in run.rows] == [(256, 64)]
    run = run_suite([found], parse_sweeps(["batch=128"], PLAN), 20.0, threading.Event(), lambda _: None)
    assert [(row.setting.batch, row.setting.micro_batch) for row in run.rows] == [(128, None)]


def test_a_crash_is_a_row_with_its_reason_and_the_next_case_is_measured() -> None:
    plan = parse_sweeps(["depth=5000,0"], PLAN)
    run = run_suite([DEEP, ECHO], plan, 20.0, threading.Event(), lambda _: None)
    assert run.rows[0].problem == "ended with exit code 7"
    assert [row.problem for row in run.rows[1:]] == [None, None, None]


def test_stopping_ends_the_suite() -> None:
    stop = threading.Event()

    def listen(event: SuiteEvent) -> None:
        stop.set()

    with pytest.raises(Cancelled):
        run_suite([ECHO, ECHO], SuitePlan(rounds=100_000, seconds=600.0), 20.0, stop, listen)


@pytest.mark.parametrize(
    "word",
    [
        "threads",
        "speed=1",
        "threads=x",
        "batch=1",
        "micro_batch=1",
        "micro_batch=64,16385",
        "kv=f7",
        "depth=-1",
        "threads=",
        "=1",
    ],
    ids=repr,
)
def test_a_sweep_that_makes_no_sense_is_refused_by_name(word: str) -> None:
    with pytest.raises(UsageError, match="The sweep"):
        parse_sweeps([word], PLAN)
