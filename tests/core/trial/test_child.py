"""What a trial run does with models that do not decode."""

import threading
from pathlib import Path

import pytest

from core.contract.options import LoadOptions
from core.models.resolve import resolve_own
from core.trial.child import Sampled, Settled, TrialRequest, VariantLoaded, VariantTried
from core.trial.parent import run_trial
from tests.fakes.bert import write_embedder


def test_an_embedder_embeds_a_text_in_a_trial_run(tmp_path: Path) -> None:
    artifact = resolve_own(str(write_embedder(tmp_path / "tiny")))
    assert (artifact.name, artifact.format) == ("tiny", "onnx-embedder")
    location = "core.engines.onnx.engine:OnnxEngine"
    request = TrialRequest(location, artifact, (LoadOptions(threads=1),), (1,), rounds=2, seconds=20)
    outcome = run_trial(request, 60.0, threading.Event())
    assert outcome.trouble is None
    assert [type(line) for line in outcome.lines] == [VariantLoaded, Sampled, Sampled, VariantTried]
    assert all(line.prefill > 0 and line.threads == 1 for line in outcome.lines if isinstance(line, Sampled))


def test_a_trial_run_tells_what_a_model_came_to_take() -> None:
    options = LoadOptions(threads=1, batch=64)
    request = TrialRequest("core.engines.llamacpp.engine:LlamaCppEngine", resolve_own("guide"), (options,), (1,), 1, 20)
    outcome = run_trial(request, 60.0, threading.Event())
    assert [type(line) for line in outcome.lines] == [VariantLoaded, Sampled, Settled, VariantTried]
    (settled,) = (line for line in outcome.lines if isinstance(line, Settled))
    assert settled.context > 64
    # At least the weights, and less than a Python process with the library takes.
    assert request.artifact.size < settled.grown < 64 << 20


@pytest.mark.parametrize(
    ("engine", "trouble"),
    [
        ("tests.no_such_module:Engine", "(ModuleNotFoundError: No module named 'tests.no_such_module')"),
        ("tests.fakes.crashing:Talking", "(/src/ggml.c:1: GGML_ASSERT(false) failed)"),
    ],
)
def test_what_a_child_said_before_it_died_is_told(engine: str, trouble: str) -> None:
    request = TrialRequest(engine, resolve_own("echo"), (LoadOptions(),), (1,), rounds=1, seconds=1)
    outcome = run_trial(request, 60.0, threading.Event())
    assert outcome.trouble is not None
    assert outcome.trouble.endswith(trouble)


def test_a_child_is_told_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHTOP_SERVER_API_KEYS", "the key")
    request = TrialRequest(
        "tests.fakes.crashing:Telling", resolve_own("echo"), (LoadOptions(),), (1,), rounds=1, seconds=1
    )
    assert run_trial(request, 60.0, threading.Event()).trouble == "ended with exit code 5 (error: the key is None)"
