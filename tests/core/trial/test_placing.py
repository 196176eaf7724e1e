"""Placements are tried in child processes until one holds: with an engine whose devices have room for so much, and with
a real one whose server has."""

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Availability, Available
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.placement import HOST, DeviceBuffers, DeviceTaken, Placement
from core.devices.library import LIBRARY_PATH
from core.engines.echo import EchoEngine, EchoModel
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import EngineFailed, LoadFailed, MemoryShort
from core.guide import WEIGHTS
from core.trial.placing import ModelExtent, PlacementTrials, PlacementVerdict, list_lighter
from tests.fakes.real_weights import SMOLLM2, real_weights
from tests.fakes.rpc import find_rpc_folder, run_rpc_server

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)
MIB = 1 << 20
LAYER_BYTES = 10 * MIB
BLOCKS = 32
WHOLE = Placement(devices=("CARD0",), layers=BLOCKS + 1)
FREE = {"CARD0": 1 << 40}
ROOM_LAYERS = 20


class Placing(EchoEngine):
    """A card that has room for ROOM_LAYERS, and a driver that tells what is missing there."""

    name = "placing"

    def availability(self) -> Availability:
        return Available("1")

    def measure_free(self, options: LoadOptions) -> Mapping[str, int]:
        return {"CARD0": 1 << 30}

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        placement = options.placement
        assert placement is not None
        if placement.count_layers(BLOCKS) > ROOM_LAYERS:
            self.fail(artifact)
        model = EchoModel(options)
        card = DeviceBuffers("CARD0", weights=placement.layers * LAYER_BYTES)
        model.spec = replace(model.spec, buffers=(DeviceBuffers(HOST), card) if placement.devices else ())
        return model

    def fail(self, artifact: Artifact) -> None:
        raise MemoryShort(artifact.name, "There is too little memory on CARD0.", "CARD0")


class DyingOfMemory(Placing):
    """As a pass does for which there is no memory."""

    name = "dying"

    def fail(self, artifact: Artifact) -> None:
        sys.stderr.write("CUDA error: out of memory\n")
        sys.stderr.flush()
        os.abort()


class Faulting(DyingOfMemory):
    """As a driver does that is broken."""

    name = "faulting"

    def fail(self, artifact: Artifact) -> None:
        sys.stderr.write("CUDA error: an illegal memory access was encountered\n")
        sys.stderr.flush()
        os.abort()


class Refusing(Placing):
    name = "refusing"

    def fail(self, artifact: Artifact) -> None:
        raise LoadFailed(artifact.name, "Not this one.")


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlacementTrials:
    # The child must find this module's engines.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    return PlacementTrials(tmp_path, 30.0)


def verify(
    trials: PlacementTrials,
    engine: Placing,
    free: Mapping[str, int] = FREE,
    *,
    fixed: bool = False,
    location: str = "",
) -> PlacementVerdict:
    options = LoadOptions(ctx_size=256, placement=WHOLE, kv_room=1 << 30)
    location = location or f"{__name__}:{type(engine).__name__}"
    stop = threading.Event()
    return trials.verify(engine, location, GUIDE, options, ModelExtent(BLOCKS), free, stop, fixed=fixed)


def test_layers_leave_a_card_until_there_is_room_and_what_was_seen_is_kept(trials: PlacementTrials) -> None:
    verdict = verify(trials, Placing())
    assert verdict.placement == replace(WHOLE, layers=19)
    assert [each.placement.layers for each in verdict.failures] == [33, 31, 27]
    assert {each.how for each in verdict.failures} == {"There is too little memory on CARD0."}
    assert verdict.taken[1] == DeviceTaken("CARD0", 19 * LAYER_BYTES)
    assert verdict.kv_room == 1 << 30
    assert verify(trials, Placing(), location="no.child:Starts") == verdict


def test_what_was_seen_counts_only_where_its_devices_have_room_now(trials: PlacementTrials) -> None:
    verdict = verify(trials, Placing())
    assert verdict.has_room({"CARD0": 190 * MIB})
    assert not verdict.has_room({"CARD0": 189 * MIB})
    assert not verdict.has_room({})
    with pytest.raises(EngineFailed, match=r"ModuleNotFoundError: No module named 'no'"):
        verify(trials, Placing(), {"CARD0": 189 * MIB}, location="no.child:Starts")


def test_a_child_that_dies_of_memory_is_followed_by_one_with_less(trials: PlacementTrials) -> None:
    verdict = verify(trials, DyingOfMemory())
    assert verdict.placement.layers == 19
    assert verdict.failures[0].how == "crashed with SIGABRT (CUDA error: out of memory)"


def test_a_fault_is_not_mended_by_fewer_layers(trials: PlacementTrials) -> None:
    verdict = verify(trials, Faulting())
    assert verdict.placement.on_host
    assert len(verdict.failures) == 1


def test_what_a_user_fixed_is_refused_in_the_engines_words(trials: PlacementTrials) -> None:
    with pytest.raises(MemoryShort, match=r"^There is too little memory on CARD0\.$") as short:
        verify(trials, Placing(), fixed=True)
    assert short.value.device == "CARD0"
    with pytest.raises(EngineFailed, match=r"it crashed with SIGABRT \(CUDA error: out of memory\)\. Give it fewer"):
        verify(trials, DyingOfMemory(), fixed=True)


def test_another_refusal_is_no_matter_of_layers(trials: PlacementTrials) -> None:
    with pytest.raises(LoadFailed, match=r"^Not this one\.$"):
        verify(trials, Refusing())


def test_the_last_try_is_without_any_device() -> None:
    lighter = list_lighter(replace(WHOLE, layers=25), ModelExtent(24, 24))
    assert [(each.layers, each.expert_layers) for each in lighter] == [
        *[(25, 0), (25, 1), (25, 3), (25, 7), (25, 15), (25, 24)],
        (0, 0),
    ]


def test_a_real_device_with_less_room_than_it_tells_gets_fewer_layers(
    trials: PlacementTrials, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path = find_rpc_folder(), real_weights(SMOLLM2)
    monkeypatch.setenv(LIBRARY_PATH, str(folder))
    with run_rpc_server(folder, room=200 * MIB) as endpoint:
        device = f"RPC0[{endpoint}]"
        options = LoadOptions(
            ctx_size=4096,
            slots=1,
            extra_buffers=False,
            rpc=(endpoint,),
            placement=Placement(devices=(device,), layers=31),
        )
        verdict = trials.verify(
            LlamaCppEngine(),
            "core.engines.llamacpp.engine:LlamaCppEngine",
            Artifact("smollm2", "gguf", path, path.stat().st_size),
            options,
            ModelExtent(30),
            {device: 1 << 40},
            threading.Event(),
        )
    assert 16 <= verdict.placement.layers < 31
    assert "on RPC0" in verdict.failures[0].how
    assert "failed to allocate" in verdict.failures[0].how
    assert 100 * MIB < verdict.taken[1].bytes < 200 * MIB
