"""What the doctor tells of trial runs that were really made."""

from __future__ import annotations

import threading
from pathlib import Path

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.registry import Engines
from core.guide import WEIGHTS
from core.trial.probe import Prober
from tests.fakes.weights import truncated
from tui.cli.doctor import list_verdicts

LOCATION = "core.engines.llamacpp.engine:LlamaCppEngine"


def test_a_model_that_an_engine_declined_is_not_told_to_run(tmp_path: Path) -> None:
    prober = Prober(tmp_path / "probes", 60.0)
    engine = Engines().get("llamacpp")
    for name, path in (("whole", WEIGHTS), ("cut", truncated(tmp_path))):
        artifact = Artifact(name, "gguf", path, path.stat().st_size)
        prober.probe(engine, LOCATION, artifact, LoadOptions(threads=1), threading.Event(), budget=0.0)
    lines = list_verdicts(prober.verdicts())
    assert any("runs whole here" in line for line in lines)
    (said,) = [line for line in lines if "cut" in line]
    assert "does not run cut: it declined to" in said
