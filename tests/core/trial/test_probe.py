"""The trial run in a child process, with engines that crash, hang and babble on purpose."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Availability, Available
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import EchoEngine, EchoModel
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import ArtifactError, Cancelled, EngineFailed, LoadFailed, MemoryShort
from core.guide import WEIGHTS
from core.hardware import describe_machine
from core.trial.child import Deepened, Line, Sampled, TrialRequest, VariantLoaded, VariantRefused, VariantTried
from core.trial.choose_engine import CandidateRow, Selection
from core.trial.cpu_load import Times
from core.trial.parent import run_trial
from core.trial.probe import Prober, list_thread_counts
from core.trial.verdict import ProbeVerdict, Rate, apply_verdict, choose_threads, project_decode
from tui.cli.doctor import describe_verdicts

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)


class Troubled(EchoEngine):
    """An echo engine in the place of a native one, with trouble until the settings are safe enough."""

    name = "troubled"

    def availability(self) -> Availability:
        return Available("1")

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        return LlamaCppEngine().safer(options)

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if options.repacks:
            self.trouble()
        return super().load(artifact, options)

    def trouble(self) -> None:
        os.kill(os.getpid(), signal.SIGILL)


class Hanging(Troubled):
    name = "hanging"

    def trouble(self) -> None:
        time.sleep(600)


class Babbling(Troubled):
    name = "babbling"

    def trouble(self) -> None:
        os.write(1, b"benchtop-trial:{not json\n")
        os._exit(0)


class Quitting(Troubled):
    name = "quitting"

    def trouble(self) -> None:
        os._exit(3)


class Hopeless(Troubled):
    name = "hopeless"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        os.abort()


class Refusing(Troubled):
    name = "refusing"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        raise LoadFailed(artifact.name, "Not this one.")


class Cramped(Troubled):
    name = "cramped"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        raise MemoryShort(artifact.name, "Not now.")


class Reading(EchoEngine):
    """Reads what a user has written, as all engines with templates do."""

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if options.chat_template or options.response_schema:
            raise LoadFailed(artifact.name, "It is misspelled.")
        return super().load(artifact, options)


class CrashesInTheStep(EchoModel):
    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        os.kill(os.getpid(), signal.SIGSEGV)
        return super().step(work)


class CrashesLate(Troubled):
    """Loads well and faults in the first forward pass, as kernels do."""

    name = "late"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return CrashesInTheStep(options) if options.repacks else EchoModel(options)


@pytest.fixture
def prober(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prober:
    # The child must find this module's engines.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return Prober(tmp_path, timeout=20.0)


def probe(prober: Prober, engine: Troubled) -> ProbeVerdict:
    location = f"{__name__}:{type(engine).__name__}"
    return prober.probe(engine, location, GUIDE, LoadOptions(), threading.Event())


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a faulting process without a signal")
@pytest.mark.parametrize(
    ("engine", "how"),
    [
        (Troubled(), "crashed with SIGILL"),
        (CrashesLate(), "crashed with SIGSEGV"),
        (Babbling(), "ended without a result"),
        (Quitting(), "exit code 3"),
    ],
    ids=["crash in loading", "crash in the step", "garbage", "exit"],
)
def test_trouble_picks_the_next_safer_setting_and_says_so(prober: Prober, engine: Troubled, how: str) -> None:
    verdict = probe(prober, engine)
    assert not verdict.options.repacks
    assert [failure.how for failure in verdict.failures if how in failure.how]
    assert how in verdict.notes[0]
    assert "plain buffers" in verdict.notes[0]


def test_a_hang_is_ended_and_leaves_no_process_behind(tmp_path: Path, prober: Prober) -> None:
    short = Prober(tmp_path, timeout=4.0)
    before = set(psutil.Process().children(recursive=True))
    verdict = probe(short, Hanging())
    assert verdict.failures[0].how == "hung for 4 s"
    assert set(psutil.Process().children(recursive=True)) == before


def test_no_safe_setting_is_an_error_that_names_engine_and_model(prober: Prober) -> None:
    with pytest.raises(EngineFailed, match="hopeless engine cannot run guide.*safest"):
        probe(prober, Hopeless())


def test_a_refusal_in_good_order_is_left_to_loading_in_earnest(prober: Prober) -> None:
    verdict = probe(prober, Refusing())
    assert verdict.options.repacks
    assert verdict.rates == ()


def test_a_verdict_is_kept_and_no_second_child_is_started(prober: Prober) -> None:
    first = probe(prober, Quitting())
    kept = prober.probe(Quitting(), "no.such.module:Engine", GUIDE, LoadOptions(), threading.Event())
    assert kept == first
    assert prober.verdicts() == [first]


def test_a_damaged_verdict_is_found_anew(prober: Prober, tmp_path: Path) -> None:
    first = probe(prober, Quitting())
    for path in tmp_path.glob("*.json"):
        path.write_bytes(b"{")
    assert prober.verdicts() == []
    assert probe(prober, Quitting()).failures == first.failures


def test_stopping_ends_the_child(prober: Prober) -> None:
    before = set(psutil.Process().children(recursive=True))
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Cancelled):
        prober.probe(Hanging(), f"{__name__}:Hanging", GUIDE, LoadOptions(), stop)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_llama_cpp_runs_the_built_in_model_in_a_child(prober: Prober) -> None:
    location = "core.engines.llamacpp.engine:LlamaCppEngine"
    verdict = prober.probe(LlamaCppEngine(), location, GUIDE, LoadOptions(), threading.Event())
    measured = [rate.threads for rate in verdict.rates if rate.options == LoadOptions()]
    assert measured == list(list_thread_counts(LoadOptions()))
    assert all(rate.decode > 0 and rate.prefill > 0 and rate.memory > 0 for rate in verdict.rates)
    assert verdict.best in verdict.rates
    assert verdict.threads in range(1, describe_machine().cores + 1)


def test_more_threads_must_earn_their_place() -> None:
    assert choose_threads({1: 100.0, 2: 104.0}) == 1
    assert choose_threads({2: 150.0, 1: 100.0, 4: 152.0}) == 2
    assert choose_threads({}) is None


def test_a_thread_count_that_was_asked_for_is_the_only_one_tried() -> None:
    assert list_thread_counts(LoadOptions(threads=3)) == (3,)


def test_notes_name_the_settings_given_up_and_those_taken() -> None:
    engine = LlamaCppEngine()
    safest = engine.safer(replace(LoadOptions(), extra_buffers=False))
    assert safest is not None
    assert engine.safer(safest) is None
    verdict = ProbeVerdict("llamacpp", "1", "guide", "m", safest, (Rate(safest, 1, 1.0, 1.0, 0.1, 0.0),))
    assert verdict.notes == ()


class Choosy(Troubled):
    """Offers a usual setting that is slow and two more, of which the second crashes."""

    name = "choosy"

    def variants(self, artifact: Artifact, options: LoadOptions) -> list[LoadOptions]:
        usual = replace(options, extra_buffers=False)
        return [usual, replace(usual, flash_attention=True), replace(usual, flash_attention=False)]

    def adapt(self, artifact: Artifact, chosen: LoadOptions, asked: LoadOptions) -> LoadOptions:
        return chosen

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if options.flash_attention:
            os._exit(9)
        return EchoModel(options) if options.flash_attention is False else SlowEcho(options)


class SlowEcho(EchoModel):
    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(0.002)
        return super().step(work)


def test_of_the_variants_that_survive_the_clearly_fastest_is_taken(prober: Prober) -> None:
    told: list[Line] = []
    location = f"{__name__}:Choosy"
    verdict = prober.probe(Choosy(), location, GUIDE, LoadOptions(), threading.Event(), tell=told.append)
    assert verdict.options.flash_attention is False
    assert [failure.how for failure in verdict.failures] == ["ended with exit code 9"]
    assert {type(line) for line in told} == {VariantLoaded, Sampled, Deepened, VariantTried}
    assert len({rate.options for rate in verdict.rates}) == 2


class Tiring(EchoModel):
    """Decodes slowly behind a prompt that came in a large step."""

    def __init__(self, options: LoadOptions) -> None:
        super().__init__(options)
        self._tired = False

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        tokens = max(len(each.tokens) for each in work)
        self._tired = tokens > 100 or (self._tired and tokens == 1)
        time.sleep(0.004 if self._tired else 0.0)
        return super().step(work)


class Shallow(Troubled):
    """Its usual setting is the faster one behind short prompts, and the slower one behind long ones. With the other
    one, a third is faster still."""

    name = "shallow"

    def variants(self, artifact: Artifact, options: LoadOptions) -> list[LoadOptions]:
        plain = replace(options, flash_attention=False)
        return [options, plain] if options.flash_attention is None else [options, replace(options, micro_batch=64)]

    def adapt(self, artifact: Artifact, chosen: LoadOptions, asked: LoadOptions) -> LoadOptions:
        return chosen

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if options.flash_attention is None:
            return Tiring(options)
        return EchoModel(options) if options.micro_batch else SlowEcho(options)


class Declining(Choosy):
    """Its second setting is refused in good order."""

    name = "declining"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        if options.flash_attention:
            raise ArtifactError(artifact.name, "Not with this.")
        return EchoModel(options)


def test_what_is_fast_behind_short_prompts_alone_is_not_taken_and_settings_are_tried_one_upon_another(
    prober: Prober,
) -> None:
    verdict = prober.probe(Shallow(), f"{__name__}:Shallow", GUIDE, LoadOptions(), threading.Event(), budget=20.0)
    assert verdict.depth >= 192
    assert (verdict.options.flash_attention, verdict.options.micro_batch) == (False, 64)
    assert [rate.options.micro_batch for rate in verdict.rates if rate.threads == 1] == [None, None, 64]
    assert all(rate.behind for rate in verdict.rates)


def test_a_rate_behind_a_short_prompt_is_told_for_a_usual_one() -> None:
    rate = Rate(LoadOptions(), 1, decode=50.0, prefill=1.0, first_token=1.0, spread=0.0, behind=40.0)
    assert project_decode(rate, 4096) == pytest.approx(40.0)
    # A step takes 20 ms, and 5 more for each 512 tokens before it.
    assert project_decode(rate, 512) == pytest.approx(1 / (0.020 + 4 * 0.005))
    assert project_decode(replace(rate, behind=60.0), 512) == pytest.approx(50.0)


def test_a_refused_setting_is_tried_once(prober: Prober) -> None:
    told: list[Line] = []
    location = f"{__name__}:Declining"
    verdict = prober.probe(Declining(), location, GUIDE, LoadOptions(), threading.Event(), tell=told.append)
    assert sum(isinstance(line, VariantRefused) for line in told) == 1
    assert len(verdict.rates) == 2


def test_a_refusal_is_kept_unless_memory_was_short(prober: Prober) -> None:
    for engine, kept in ((Refusing(), True), (Cramped(), False)):
        assert probe(prober, engine).rates == ()
        assert (prober.kept(engine, GUIDE, LoadOptions()) is not None) is kept


def test_what_prompts_are_written_with_is_no_matter_of_a_trial(prober: Prober) -> None:
    options = LoadOptions(chat_template="misspelled", response_schema="nowhere.json")
    location = f"{__name__}:Reading"
    assert prober.probe(Reading(), location, GUIDE, options, threading.Event()).rates


def test_a_fresh_trial_replaces_the_kept_verdict(prober: Prober) -> None:
    first = probe(prober, Quitting())
    location = f"{__name__}:Quitting"
    again = prober.probe(Quitting(), location, GUIDE, LoadOptions(), threading.Event(), fresh=True)
    assert again.failures == first.failures
    assert prober.kept(Quitting(), GUIDE, LoadOptions()) == again


def test_the_budget_bounds_the_rounds_but_not_the_first(prober: Prober) -> None:
    location = "core.engines.echo:EchoEngine"
    request = TrialRequest(location, GUIDE, (LoadOptions(), LoadOptions()), (1,), rounds=50, seconds=0.0)
    outcome = run_trial(request, 20.0, threading.Event())
    assert outcome.trouble is None
    assert sum(isinstance(line, Sampled) for line in outcome.lines) == 1


def test_a_refused_variant_is_told_with_the_engines_sentence(prober: Prober) -> None:
    request = TrialRequest(f"{__name__}:Refusing", GUIDE, (LoadOptions(),), (1,), rounds=1, seconds=1.0)
    assert run_trial(request, 20.0, threading.Event()).lines == (VariantRefused(0, "Not this one."),)


def test_what_was_asked_for_stands_and_the_rest_is_what_was_measured() -> None:
    rates = (Rate(LoadOptions(), 1, 10.0, 5.0, 0.1, 0.0), Rate(LoadOptions(), 2, 9.0, 50.0, 0.1, 0.0))
    verdict = ProbeVerdict("llamacpp", "1", "guide", "m", LoadOptions(), rates)
    assert verdict.best == rates[0]
    taken = apply_verdict(verdict, LoadOptions(ctx_size=64, slots=3))
    assert (taken.ctx_size, taken.slots, taken.threads, taken.batch_threads) == (64, 3, 1, 2)
    assert apply_verdict(verdict, LoadOptions(threads=2)).threads == 2


@pytest.mark.parametrize(("busy", "said"), [(0.1, ""), (0.5, "while other programs took 50% of the processors")])
def test_a_measurement_beside_other_work_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float, said: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    clock = iter([Times(0.0, 0.0, 0.0), Times(100.0, 100 * busy, 0.0)])
    verdict = probe(Prober(tmp_path, timeout=20.0, clock=lambda: next(clock)), Quitting())
    assert said in verdict.disturbed
    assert bool(verdict.disturbed) is bool(said)
    told = Selection((CandidateRow("quitting", GUIDE, verdict),), 0).lines
    assert [line for line in told if "--rebench" in line] == ([f"[benchmark] {verdict.disturbed}"] if said else [])
    assert any(said in line for line in describe_verdicts([verdict]))
