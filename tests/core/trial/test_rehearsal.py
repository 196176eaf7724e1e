"""Model files that end a process once they are served: a child must be what dies of them."""

import os
import threading
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.echo import EchoModel
from core.engines.llamacpp.engine import LlamaCppEngine
from core.errors import EngineFailed
from core.guide import WEIGHTS
from core.requests import Sampling
from core.trial.child import TrialRequest, VariantLoaded, VariantTried
from core.trial.parent import TrialOutcome, run_trial
from core.trial.probe import Prober
from core.trial.rehearsal import UnfitModel, rehearse_model
from tests.fakes.loading import load_decoder
from tests.fakes.weights import rewritten

OPTIONS_GREEDY = Sampling(temperature=0.0)
LOCATION = "core.engines.llamacpp.engine:LlamaCppEngine"
OPTIONS = LoadOptions(threads=1, batch_threads=1, extra_buffers=False)


def artifact(path: Path) -> Artifact:
    return Artifact(path.stem, "gguf", path, path.stat().st_size)


def tried(path: Path) -> TrialOutcome:
    return run_trial(TrialRequest(LOCATION, artifact(path), (OPTIONS,), (1,), 1, 20.0), 120.0, threading.Event())


def test_a_vocabulary_that_aborts_at_the_first_text_dies_in_the_trial_run(tmp_path: Path) -> None:
    # The words of one kind of tokenizer under the name of another: it loads, and decodes what was never a text.
    path = rewritten(WEIGHTS, tmp_path / "foreign.gguf", fields={"tokenizer.ggml.model": "llama"})
    outcome = tried(path)
    assert [type(line) for line in outcome.lines] == [VariantLoaded]
    assert "SIGABRT" in (outcome.trouble or "")


def test_such_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = rewritten(WEIGHTS, tmp_path / "foreign.gguf", fields={"tokenizer.ggml.model": "llama"})
    prober = Prober(tmp_path / "probes", 120.0)
    with pytest.raises(EngineFailed, match=r"llamacpp engine cannot run foreign on this machine: .*SIGABRT"):
        prober.probe(LlamaCppEngine(), LOCATION, artifact(path), OPTIONS, threading.Event(), budget=1.0)


def test_tokens_that_no_vocabulary_has_are_told_before_a_model_looks_them_up(tmp_path: Path) -> None:
    path = rewritten(WEIGHTS, tmp_path / "beyond.gguf", fields={"tokenizer.ggml.model": "rwkv"})
    model = load_decoder(artifact(path), OPTIONS)
    try:
        with pytest.raises(UnfitModel, match="makes token -1 of a text"):
            rehearse_model(model)
    finally:
        model.shutdown()


def test_weights_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    path = rewritten(WEIGHTS, tmp_path / "nan.gguf", weights={"output_norm.weight": float("nan")})
    outcome = tried(path)
    assert outcome.trouble is not None
    assert not any(isinstance(line, VariantTried) for line in outcome.lines)


def test_sound_models_come_through_with_all_sequences_free() -> None:
    echo = EchoModel(LoadOptions(ctx_size=512, slots=1))
    guide = load_decoder(artifact(WEIGHTS), LoadOptions(ctx_size=256, slots=1, threads=1, batch_threads=1))
    for model in (echo, guide):
        rehearse_model(model)
        assert len([model.open(OPTIONS_GREEDY) for _ in range(model.spec.sequences)]) == model.spec.sequences
        model.shutdown()


def test_a_file_that_was_written_anew_is_tried_anew(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(WEIGHTS.read_bytes())
    prober, engine = Prober(tmp_path / "probes", 120.0), LlamaCppEngine()
    prober.probe(engine, LOCATION, artifact(path), OPTIONS, threading.Event(), budget=0.0)
    assert prober.kept(engine, artifact(path), OPTIONS) is not None
    # Both ends and the size stay as they were.
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert prober.kept(engine, artifact(path), OPTIONS) is None
