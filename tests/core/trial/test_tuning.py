"""Batch and micro-batch are measured where there is time, kept with the verdict, and applied where a user left them
open."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.contract.abilities import BatchSize
from core.contract.artifact import Artifact
from core.contract.models import TokenModel
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import EchoEngine, EchoModel
from core.engines.llamacpp.engine import LlamaCppEngine
from core.guide import WEIGHTS
from core.trial.child import Sampled, VariantRefused
from core.trial.probe import Prober
from core.trial.tuning import (
    MARGIN_FACTOR,
    SIZE_TURNS,
    Pace,
    SizeRate,
    TuningPlan,
    build_tuning_request,
    choose_size,
    collect_size_rates,
    plan_tuning,
)
from core.trial.verdict import ProbeVerdict, apply_fitting, apply_verdict, describe_settings
from tests.contract.test_token_model import generate, prompt_of
from tests.fakes.loading import load_decoder

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
USUAL, SMALL, LARGE = BatchSize(512, 512), BatchSize(512, 128), BatchSize(2048, 2048)
SIZES = (USUAL, SMALL, LARGE)
GO = threading.Event()


class PerPass(EchoModel):
    """A forward pass takes a while with any micro-batch but a small one."""

    def __init__(self, options: LoadOptions) -> None:
        super().__init__(options)
        self._pause = 0.0 if options.pass_tokens == SMALL.micro_batch else 0.05

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if sum(len(item.tokens) for item in work) > SMALL.micro_batch:
            time.sleep(self._pause)
        return super().step(work)


class Sized(EchoEngine):
    name = "sized"

    def sizes(self, _: Artifact, options: LoadOptions) -> list[BatchSize]:
        return [BatchSize(options.step_tokens, options.pass_tokens), SMALL]

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return PerPass(options)


class DiesOfSmall(Sized):
    name = "fragile"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if options.pass_tokens == SMALL.micro_batch:
            os._exit(9)
        return PerPass(options)


class HangsWithSmall(Sized):
    name = "hanging"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if options.pass_tokens == SMALL.micro_batch:
            time.sleep(600)
        return PerPass(options)


@pytest.fixture
def prober(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prober:
    # The child must find this module's engines.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return Prober(tmp_path, timeout=60.0)


def probe(prober: Prober, engine: Sized, options: LoadOptions = LoadOptions(), budget: float = 60.0) -> ProbeVerdict:
    return prober.probe(engine, f"{__name__}:{type(engine).__name__}", GUIDE, options, GO, budget=budget)


@given(
    st.lists(st.sampled_from([32, 128, 512, 1024, 2048]), min_size=1, max_size=5),
    st.floats(0, 2),
    st.floats(0, 5),
    st.floats(1, 50_000),
    st.floats(-1, 20),
)
def test_what_is_planned_never_takes_longer_than_is_left(
    batches: list[int], start: float, load: float, prefill: float, left: float
) -> None:
    sizes = [BatchSize(batch, batch) for batch in batches]
    plan = plan_tuning(sizes, Pace(start, load, prefill), left)
    if plan is not None:
        assert list(plan.sizes) == sizes[: len(plan.sizes)]
        assert plan.prompt == max(batches[: len(plan.sizes)])
        once = load + plan.rounds * plan.prompt / prefill
        assert start + MARGIN_FACTOR * SIZE_TURNS * len(plan.sizes) * once <= left


def test_short_of_time_the_sizes_that_take_long_are_left_out_and_in_the_end_all() -> None:
    pace = Pace(start=0.2, load=0.1, prefill=5_000.0)
    assert plan_tuning(SIZES, pace, 20.0) == TuningPlan(SIZES, 2, 2048)
    assert plan_tuning(SIZES, pace, 4.5) == TuningPlan(SIZES, 1, 2048)
    assert plan_tuning(SIZES, pace, 2.0) == TuningPlan(SIZES[:2], 2, 512)
    assert plan_tuning(SIZES, pace, 0.5) is None
    assert plan_tuning(SIZES, replace(pace, prefill=20.0), 15.0) is None
    assert plan_tuning(SIZES[:1], pace, 20.0) is None


def test_every_size_is_loaded_in_turn_and_its_best_round_counts() -> None:
    plan = TuningPlan(SIZES, 1, 2048)
    request = build_tuning_request("m:E", GUIDE, LoadOptions(threads=3), 2, plan, 5.0)
    assert [(each.batch, each.micro_batch, each.threads) for each in request.variants] == [
        (512, 512, 3), (512, 128, 3), (2048, 2048, 3), (512, 512, 3), (512, 128, 3), (2048, 2048, 3)
    ]  # fmt: skip
    assert (request.prompt, request.decoded, request.threads, request.weighed) == (2048, 0, (2,), False)
    rates = (50.0, 80.0, 0.0, 70.0, 60.0, 0.0)
    lines = [Sampled(index, 2, rate, 0.0, 0.1) for index, rate in enumerate(rates) if rate]
    found = collect_size_rates(plan, [*lines, VariantRefused(2, "no memory")])
    assert found == (SizeRate(USUAL, 70.0), SizeRate(SMALL, 80.0))
    assert collect_size_rates(plan, lines[1:2]) == ()


def test_a_size_must_be_clearly_faster_than_the_usual_one() -> None:
    assert choose_size([SizeRate(USUAL, 100.0), SizeRate(SMALL, 104.0)], 1.05) == USUAL
    assert choose_size([SizeRate(USUAL, 100.0), SizeRate(SMALL, 106.0), SizeRate(LARGE, 108.0)], 1.05) == SMALL
    assert choose_size([], 1.05) is None


def test_the_faster_micro_batch_is_found_kept_and_told(prober: Prober) -> None:
    verdict = probe(prober, Sized())
    assert [rate.size for rate in verdict.sizes] == [USUAL, SMALL]
    assert describe_settings(verdict.chosen) == "micro-batch 128"
    assert verdict.best is not None
    kept = prober.settled(Sized(), GUIDE, LoadOptions(ctx_size=64))
    assert (kept.ctx_size, kept.batch, kept.micro_batch) == (64, 512, 128)


def test_what_a_user_fixed_stands_and_has_a_verdict_of_its_own(prober: Prober) -> None:
    found = probe(prober, Sized())
    for asked in (LoadOptions(batch=512), LoadOptions(micro_batch=256), LoadOptions(batch=64)):
        assert prober.kept(Sized(), GUIDE, asked) is None
        taken = apply_verdict(found, asked)
        assert taken.batch == (asked.batch or 512)
        assert taken.micro_batch == (asked.micro_batch or 128)


class Spacious(Sized):
    """Large batches fit small contexts alone."""

    def sizes(self, _: Artifact, options: LoadOptions) -> list[BatchSize]:
        large = [LARGE] if (options.ctx_size or 0) <= 4096 else []
        return [BatchSize(options.step_tokens, options.pass_tokens), *large]


def test_a_batch_that_is_too_much_with_another_context_is_left_out() -> None:
    found = (SizeRate(USUAL, 100.0), SizeRate(LARGE, 200.0))
    verdict = ProbeVerdict("sized", "1", "guide", "m", LoadOptions(), sizes=found)
    for context, batch in ((2048, LARGE.batch), (131_072, None)):
        asked = LoadOptions(ctx_size=context)
        assert apply_fitting(Spacious(), GUIDE, verdict, asked).batch == batch
    assert (
        apply_fitting(Spacious(), GUIDE, verdict, LoadOptions(ctx_size=131_072, batch=LARGE.batch)).batch == LARGE.batch
    )


@pytest.mark.parametrize("budget", [0.0, 0.2])
def test_without_time_the_usual_sizes_are_kept_in_silence(prober: Prober, budget: float) -> None:
    verdict = probe(prober, Sized(), budget=budget)
    assert (verdict.sizes, verdict.failures, verdict.notes) == ((), (), ())
    assert (verdict.chosen, verdict.best is not None) == (LoadOptions(), True)
    assert apply_verdict(verdict, LoadOptions()).step_tokens == 512


def test_a_child_that_dies_of_a_size_costs_the_tuning_and_never_the_verdict(prober: Prober) -> None:
    verdict = probe(prober, DiesOfSmall())
    assert (verdict.sizes, verdict.chosen) == ((), LoadOptions())
    assert verdict.best is not None
    (failure,) = verdict.failures
    assert (failure.options.micro_batch, failure.how) == (128, "ended with exit code 9")
    (note,) = verdict.notes
    assert note.endswith("in a trial run with micro-batch 128; it now runs with its usual settings.")


def test_a_child_that_hangs_with_a_size_is_ended_with_the_budget(prober: Prober) -> None:
    verdict = probe(prober, HangsWithSmall(), budget=3.0)
    assert (verdict.chosen, verdict.failures) == (LoadOptions(), ())
    assert SMALL not in [rate.size for rate in verdict.sizes]


def test_a_verdict_that_knows_no_sizes_is_read_and_leaves_the_batch_as_it_was(prober: Prober, tmp_path: Path) -> None:
    probe(prober, Sized(), budget=0.0)
    (path,) = tmp_path.glob("*.json")
    old = msgspec.json.decode(path.read_bytes())
    del old["sizes"]
    for options in (old["options"], *(rate["options"] for rate in old["rates"])):
        options["batch"] = 512
        del options["micro_batch"]
    path.write_bytes(msgspec.json.encode(old))
    (verdict,) = prober.verdicts()
    assert verdict.sizes == ()
    assert apply_verdict(verdict, LoadOptions(batch=64)).step_tokens == 64
    assert describe_settings(verdict.chosen) == ""


def greedy(options: LoadOptions, text: str) -> list[int]:
    model: TokenModel = load_decoder(GUIDE, options)
    tokens = generate(model, prompt_of(model, text), 24)
    model.shutdown()
    return tokens


def test_llama_cpp_runs_the_built_in_model_with_every_size_and_says_the_same(prober: Prober) -> None:
    asked = LoadOptions(ctx_size=600, slots=1, threads=1)
    location = "core.engines.llamacpp.engine:LlamaCppEngine"
    verdict = prober.probe(LlamaCppEngine(), location, GUIDE, asked, GO, budget=60.0)
    assert [rate.size for rate in verdict.sizes] == [USUAL, BatchSize(512, 256), SMALL]
    assert all(rate.prefill > 0 for rate in verdict.sizes)
    taken = apply_verdict(verdict, asked)
    assert taken.pass_tokens in (512, 256, 128)
    # Longer than the smaller passes, so that they are several.
    question = "What is a KV cache? " * 30
    text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    expected = greedy(replace(taken, micro_batch=None), text)
    assert all(greedy(replace(taken, micro_batch=size), text) == expected for size in (256, 128))
