"""One set of weights, several engines: the greedy tokens are llama.cpp's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.contract.engine import Available
from core.contract.models import Embedder, Reranker, StreamModel, TokenModel, Transcriber
from core.contract.options import LoadOptions
from core.engines.registry import Engines
from tests.contract.conftest import artifact_of
from tests.contract.test_token_model import generate, prompt_of

OPTIONS = LoadOptions(ctx_size=512, slots=2, batch=128, threads=1, batch_threads=1, extra_buffers=False)
QUESTIONS = ("What is a KV cache?", "Hello", "How do I start the server?", "What does Q4_K_M mean?", "Who are you?")
TOKENS = 48
ENGINES = {"onnx": "onnxruntime", "genai": "onnxruntime-genai", "mlx": "mlx", "mnn": "mnn"}


def load(engine: str, kind: str, folder: Path) -> TokenModel:
    model = Engines().get(engine).load(artifact_of(kind, folder), OPTIONS)
    assert not isinstance(model, StreamModel | Transcriber | Embedder | Reranker)
    return model


def answers(model: TokenModel) -> list[list[int]]:
    turns = (f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in QUESTIONS)
    return [generate(model, prompt_of(model, turn), TOKENS) for turn in turns]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[list[int]]]:
    model = load("llamacpp", "f16", tmp_path_factory.mktemp("weights"))
    yield answers(model)
    model.shutdown()


@pytest.mark.parametrize("kind", ENGINES)
def test_greedy_tokens_are_those_of_llama_cpp(kind: str, expected: list[list[int]], tmp_path: Path) -> None:
    engines = Engines()
    if ENGINES[kind] not in [engine.name for engine in engines]:
        pytest.skip(f"there is no engine {ENGINES[kind]} yet")
    availability = engines.get(ENGINES[kind]).availability()
    if not isinstance(availability, Available):
        pytest.skip(f"{ENGINES[kind]}: {availability.reason}")
    model = load(ENGINES[kind], kind, tmp_path)
    assert answers(model) == expected
    model.shutdown()
