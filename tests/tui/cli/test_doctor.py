"""What the doctor tells of trial runs that were really made."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.devices.device import Backend, Device, DeviceKind
from core.devices.library import LibraryView
from core.devices.survey import match_devices
from core.engines.registry import Engines
from core.guide import WEIGHTS
from core.trial.probe import Prober
from tests.fakes.weights import truncated
from tui.cli.doctor import build_device_table, describe_verdicts, list_device_lines
from tui.cli.main import main

LOCATION = "core.engines.llamacpp.engine:LlamaCppEngine"


def test_a_model_that_an_engine_declined_is_not_told_to_run(tmp_path: Path) -> None:
    prober = Prober(tmp_path / "probes", 60.0)
    engine = Engines().get("llamacpp")
    for name, path in (("whole", WEIGHTS), ("cut", truncated(tmp_path))):
        artifact = Artifact(name, "gguf", path, path.stat().st_size)
        prober.probe(engine, LOCATION, artifact, LoadOptions(threads=1), threading.Event(), budget=0.0)
    lines = describe_verdicts(prober.verdicts())
    assert any("runs whole here" in line for line in lines)
    (said,) = [line for line in lines if "cut" in line]
    assert "does not run cut: it declined to" in said


HOST = Device("a processor", DeviceKind.HOST, 64, 32)
CARD = Device("NVIDIA L4", DeviceKind.CARD, 24_000_000_000, 9_100_000_000, backend=Backend.CUDA, load=37.0, address="a")


def test_accelerators_are_told_with_their_memory_and_load() -> None:
    seen = Device("NVIDIA L4", DeviceKind.CARD, 24_000_000_000, 1, "CUDA0", Backend.CUDA, address="a")
    survey = match_devices(HOST, (CARD,), LibraryView((seen,), ("CUDA",)), {})
    cells = [list(column.cells) for column in build_device_table(survey).columns]
    assert [cell for (cell,) in cells[:4]] == ["CUDA0", "NVIDIA L4", "9.1 GB of 24.0 GB free", "37%"]
    assert list_device_lines(survey) == []


def test_a_card_that_models_do_not_use_is_told_with_what_to_install() -> None:
    survey = match_devices(HOST, (CARD,), LibraryView(backends=("CPU",)), {}, ("It hangs.",))
    assert list_device_lines(survey) == [
        "NVIDIA L4: Models do not run on it: llama-cpp-python was built without CUDA and Vulkan.",
        f"  mend it with: {survey.unused[0].mend}",
        "It hangs.",
    ]


def test_the_host_alone_is_told_as_such() -> None:
    lines = list_device_lines(match_devices(HOST, (), LibraryView(), {}))
    assert lines == ["Models run on the processor: no accelerator was found."]
    (line,) = list_device_lines(match_devices(HOST, (), LibraryView(backends=("CPU", "RPC", "Vulkan")), {}))
    assert line == "Models run on the processor: llama.cpp looks for one with Vulkan, and finds none."


def test_programs_are_told_the_same_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["available"] for each in told["engines"] if each["name"] == "echo"] == [True]
    assert told["devices"]["devices"][0]["kind"] == "host"
    assert told["machine"]["memory"] >= told["memory_available"] > 0
    assert told["trial_runs"] == []
