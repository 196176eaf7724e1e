"""What the flags about measuring mean when a model is loaded, with real trial runs of the built-in model."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import Embedder, Reranker, TokenModel
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.placement import HOST, Placement
from core.devices.device import Backend, Device, DeviceKind
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.registry import ENGINES, Engines
from core.errors import ArtifactError, EngineFailed, LoadFailed, MemoryShort
from core.models.fit.plan import Correction, leave_uncorrected
from core.models.formats.header import Header
from core.models.resolve import resolve_own
from core.serving.pool import planning
from core.serving.pool.loader import TRIAL_SECONDS, ModelLoader
from core.settings.profile import Profile
from core.settings.schema import BenchSettings, ProbeSettings, Settings
from core.trial.placing import PlacementTrials, PlacementVerdict
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


@pytest.mark.parametrize("field", ["chat_template", "response_schema"])
def test_a_file_of_the_users_that_cannot_be_read_is_told_before_anything_is_measured(
    tmp_path: Path, field: str
) -> None:
    prober, engines = Noting(tmp_path), Engines({"llamacpp": ENGINES["llamacpp"]})
    loader = ModelLoader(Settings(), engines, prober, LoadOptions(), tmp_path, lambda _: None)
    wrong = replace(SMALL, **{field: str(tmp_path / "none.jinja")})
    with pytest.raises(LoadFailed, match=rf"none.jinja cannot be read \(No such file.*; correct {field}"):
        loader.load(GUIDE, threading.Event(), lambda _: None, wrong)
    assert prober.asked == []


def test_a_model_whose_file_is_gone_is_told_by_the_files_name(tmp_path: Path) -> None:
    loader = ModelLoader(Settings(), Engines(), Noting(tmp_path), LoadOptions(), tmp_path, lambda _: None)
    gone = replace(GUIDE, name="m", path=tmp_path / "gone.gguf")
    with pytest.raises(ArtifactError, match=r"^gone.gguf, which the model m is made of, is no longer there; put it"):
        loader.load(gone, threading.Event(), lambda _: None, SMALL)


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


HOST_DEVICE = Device("a processor", DeviceKind.HOST, 64 << 30, 32 << 30)


def card(free: int) -> Device:
    return Device("a card", DeviceKind.CARD, 8 << 30, free, "CUDA0", Backend.CUDA)


class Crowded(LlamaCppEngine):
    """llama.cpp with a card that this machine has not, of which others take the memory at first."""

    def __init__(self) -> None:
        self.asked: list[Placement | None] = []

    def load(
        self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress
    ) -> TokenModel | Embedder | Reranker:
        self.asked.append(options.placement)
        if options.placement is not None and options.placement.devices:
            raise MemoryShort(artifact.name, "There is too little memory on CUDA0.", "CUDA0")
        return super().load(artifact, options, progress)


def crowd(folder: Path, options: LoadOptions = LoadOptions()) -> tuple[ModelLoader, Crowded]:
    engines = Engines({"llamacpp": f"{__name__}:Crowded"})
    engine = engines.get("llamacpp")
    assert isinstance(engine, Crowded)
    settings = Settings(probe=ProbeSettings(enabled=False))
    return ModelLoader(settings, engines, Noting(folder), options, folder, lambda _: None), engine


def test_a_model_is_planned_once_more_where_memory_was_taken_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, engine = crowd(tmp_path)
    # Looked at twice each time: once to choose among engines.
    seen = iter([card(4 << 30), card(4 << 30), card(0)])
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE, next(seen)))
    loaded = loader.load(GUIDE, threading.Event(), lambda _: None, SMALL)
    loaded.model.shutdown()
    first, second = engine.asked
    assert first is not None
    assert second is not None
    assert (first.devices, second.devices) == (("CUDA0",), ())
    assert loaded.notes[0].startswith("Memory was short at first, as when other programs take some, so its place was")
    assert "no accelerator has room for a layer" in loaded.notes[1]


def test_memory_that_stays_short_is_told_after_the_second_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader, engine = crowd(tmp_path)
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE, card(4 << 30)))
    with pytest.raises(MemoryShort, match=r"^There is too little memory on CUDA0\.$"):
        loader.load(GUIDE, threading.Event(), lambda _: None, SMALL)
    assert len(engine.asked) == 2


class Crashing(Noting):
    """Trial runs end where a device takes a part, as with a driver that faults."""

    def probe(self, *arguments: Any, **how: Any) -> ProbeVerdict:
        options: LoadOptions = arguments[3]
        if options.placement is not None and options.placement.devices:
            raise EngineFailed("The llamacpp engine cannot run guide on this machine: in a trial run it crashed.")
        return super().probe(*arguments, **how)


@pytest.mark.parametrize("asked", [None, 2])
def test_devices_that_a_trial_run_does_not_survive_are_left_out_unless_they_were_asked_for(
    asked: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines({"llamacpp": ENGINES["llamacpp"]})
    settings = Settings(bench=BenchSettings(enabled=False))
    options = LoadOptions(gpu_layers=asked)
    loader = ModelLoader(settings, engines, Crashing(tmp_path), options, tmp_path, lambda _: None)
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE, card(4 << 30)))
    monkeypatch.setattr(PlacementTrials, "verify", lambda *words, **_: PlacementVerdict(words[4].placement, ()))
    if asked is not None:
        with pytest.raises(EngineFailed, match="in a trial run it crashed"):
            loader.load(GUIDE, threading.Event(), lambda _: None, SMALL)
        return
    loaded = loader.load(GUIDE, threading.Event(), lambda _: None, SMALL)
    loaded.model.shutdown()
    assert [each.device for each in loaded.model.spec.buffers] == [HOST]
    assert loaded.notes[0].startswith(
        "All of it lies in main memory, for on the devices it failed: The llamacpp engine"
    )


def test_why_another_engine_runs_a_model_is_told(tmp_path: Path) -> None:
    class Refusing(LlamaCppEngine):
        def load(self, *_: Any) -> Any:
            raise LoadFailed("guide", "Not this one.")

    engines = Engines({"llamacpp": ENGINES["llamacpp"]})
    settings = Settings(probe=ProbeSettings(enabled=False))
    loader = ModelLoader(settings, engines, Noting(tmp_path), LoadOptions(), tmp_path, lambda _: None)
    (able,) = loader.candidates(GUIDE)
    loader.candidates = lambda *_: [replace(able, engine=Refusing()), able]  # type: ignore[method-assign]
    loaded = loader.load(GUIDE, threading.Event(), lambda _: None, SMALL)
    loaded.model.shutdown()
    assert loaded.notes[0] == "Not this one."


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (LoadOptions(override_tensor=("attn=CUDA7",)), "names the device CUDA7; here are CPU, CUDA0"),
        (LoadOptions(override_tensor=("attn",)), "is no rule for tensors; write PATTERN=DEVICE"),
        (LoadOptions(tensor_split=(1.0, 1.0)), "names 2 shares for 1 accelerator: CUDA0"),
        (LoadOptions(tensor_split=(0.0,)), "not all of them zero"),
        (LoadOptions(main_gpu=3), "There is no accelerator 3 for --main-gpu"),
    ],
    ids=["no such device", "no rule", "too many shares", "no shares", "no such number"],
)
def test_a_wish_that_cannot_be_met_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: LoadOptions, said: str
) -> None:
    loader, engine = crowd(tmp_path, options)
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE, card(4 << 30)))
    with pytest.raises(LoadFailed, match=said):
        loader.load(GUIDE, threading.Event(), lambda _: None, SMALL)
    assert engine.asked == []


def test_more_layers_than_the_model_has_are_all_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE, card(4 << 30)))
    planned = planning.plan_options(Crowded(), GUIDE, LoadOptions(gpu_layers=900))
    assert planned.plan is not None
    layers = planned.plan.layers
    assert planned.options.placement is not None
    assert planned.options.placement.layers == layers
    assert planned.notes[0].startswith(
        f"900 layers were asked for; with the output counted as one the model has {layers},"
    )


def test_a_server_that_lends_no_device_is_told_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, engine = crowd(tmp_path, LoadOptions(rpc=("box:1",)))
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE,))
    with pytest.raises(LoadFailed, match=r"cannot use RPC servers: build llama-cpp-python with -DGGML_RPC=on"):
        loader.load(GUIDE, threading.Event(), lambda _: None, SMALL)
    assert engine.asked == []


def test_plans_are_made_with_what_earlier_loads_have_taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE,))
    taught: list[str] = []

    def correct(name: str, _: Header) -> Correction:
        taught.append(name)
        return lambda parts: replace(parts, overhead=64 << 30)

    engines = Engines({"llamacpp": f"{__name__}:Crowded"})
    settings = Settings(probe=ProbeSettings(enabled=False))
    arguments = (settings, engines, Noting(tmp_path), LoadOptions(), tmp_path, lambda _: None)
    ModelLoader(*arguments, corrections=correct).load(GUIDE, threading.Event(), lambda _: None, SMALL).model.shutdown()
    assert set(taught) == {"llamacpp"}
    plain, corrected = (
        planning.plan_options(Crowded(), GUIDE, LoadOptions(), correct=each)
        for each in (lambda _: leave_uncorrected, partial(correct, ""))
    )
    assert plain.plan is not None
    assert corrected.plan is not None
    assert plain.plan.fits
    assert not corrected.plan.fits


def test_layers_that_are_asked_for_without_an_accelerator_stay_in_main_memory_and_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE,))
    planned = planning.plan_options(Crowded(), GUIDE, LoadOptions(gpu_layers=20))
    assert not planned.uses_devices
    assert planned.notes == ("No accelerator is here, so the layers that were asked for stay in main memory.",)
    assert planning.plan_options(Crowded(), GUIDE, LoadOptions()).notes == ()


def test_a_servers_devices_are_for_models_that_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lent = Device("box:1", DeviceKind.REMOTE, 8 << 30, 8 << 30, "RPC0[box:1]", Backend.RPC)
    monkeypatch.setattr(planning, "list_devices", lambda: (HOST_DEVICE, lent))
    plans = [planning.plan_options(Crowded(), GUIDE, LoadOptions(rpc=servers)) for servers in (None, ("box:1",))]
    placements = [planned.options.placement for planned in plans]
    assert [each.devices for each in placements if each is not None] == [(), ("RPC0[box:1]",)]
