"""guide as an executorch program, made and run for real where torch and executorch are installed."""

import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.contract.engine import Available
from core.contract.models import Embedder, Reranker, StreamModel, Transcriber
from core.contract.options import LoadOptions
from core.engines.executorch.engine import ExecutorchEngine
from core.engines.registry import Engines
from core.errors import Cancelled, LoadFailed
from core.events import FinishReason, TextDelta, fold_events
from core.models.resolve import resolve_own
from core.requests import Conversation, Message, RawTokens, ResolvedGeneration, Role, Sampling, TextPart
from tests.contract.conftest import artifact_of
from tests.contract.test_same_tokens import OPTIONS, QUESTIONS, TOKENS, answers, load
from tests.contract.test_token_model import generate, prompt_of

pytestmark = pytest.mark.timeout(900)
"""Exporting takes a minute or more."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    availability = ExecutorchEngine().availability()
    if not isinstance(availability, Available):
        pytest.skip(f"executorch: {availability.reason}")
    if find_spec("torchao") is None:
        pytest.skip("executorch: its exporter needs torchao, which is not installed")
    from core.guide.convert.executorch import write_model

    return write_model(tmp_path_factory.mktemp("guide"))


@pytest.fixture(scope="module")
def model(program: Path) -> Iterator[StreamModel]:
    loaded = ExecutorchEngine().load(resolve_own(str(program)), LoadOptions())
    yield loaded
    loaded.shutdown()


def test_greedy_text_is_that_of_llama_cpp(model: StreamModel, tmp_path: Path) -> None:
    reference = load("llamacpp", "f16", tmp_path)
    expected = [b"".join(map(reference.tokenizer.piece, tokens)).decode() for tokens in answers(reference)]
    reference.shutdown()
    found = [
        fold_events(
            model.generate(
                ResolvedGeneration(
                    "guide",
                    Conversation((Message(Role.USER, (TextPart(text),)),)),
                    Sampling(temperature=0.0),
                    max_tokens=TOKENS,
                    ignore_eos=True,
                ),
                threading.Event(),
            )
        )
        for text in QUESTIONS
    ]
    assert [reply.choices[0].text for reply in found] == expected
    assert {reply.choices[0].reason for reply in found} == {FinishReason.LENGTH}


def test_a_prompt_of_several_passes_gives_the_text_of_llama_cpp(model: StreamModel, tmp_path: Path) -> None:
    reference = Engines().get("llamacpp").load(artifact_of("f16", tmp_path), replace(OPTIONS, batch=512))
    assert not isinstance(reference, StreamModel | Transcriber | Embedder | Reranker)
    turn = "<|im_start|>user\nWhat is a KV cache?<|im_end|>\n<|im_start|>assistant\n"
    prompt = prompt_of(reference, "Hello there. " * 80 + turn)
    assert model.spec.batch < len(prompt) < 480
    expected = b"".join(map(reference.tokenizer.piece, generate(reference, prompt, 24))).decode()
    reference.shutdown()
    request = ResolvedGeneration(
        "guide", RawTokens(tuple(prompt)), Sampling(temperature=0.0), max_tokens=24, ignore_eos=True
    )
    assert fold_events(model.generate(request, threading.Event())).choices[0].text == expected


def test_a_cancelled_request_leaves_the_runtime_ready_for_the_next(model: StreamModel) -> None:
    stop = threading.Event()
    request = ResolvedGeneration("guide", RawTokens((9, 9)), Sampling(temperature=0.0), ignore_eos=True)
    stream = model.generate(request, stop)
    assert isinstance(next(stream), TextDelta)
    stop.set()
    with pytest.raises(Cancelled):
        list(stream)
    assert fold_events(model.generate(replace(request, max_tokens=3), threading.Event())).usage.completion_tokens == 3


def test_a_damaged_program_is_refused_with_the_reason(program: Path, tmp_path: Path) -> None:
    for beside in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / beside).write_bytes((program.parent / beside).read_bytes())
    damaged = tmp_path / "damaged.pte"
    damaged.write_bytes(program.read_bytes()[:100_000])
    with pytest.raises(LoadFailed, match="File size is too small"):
        ExecutorchEngine().load(resolve_own(str(damaged)), LoadOptions())
