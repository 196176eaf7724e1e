"""The executorch engine over a stand-in for its runtime; the real one runs in tests/contract."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import gguf
import pytest

from core.contract.artifact import Artifact
from core.contract.engine import Unavailable
from core.contract.models import StreamModel
from core.contract.options import LoadOptions
from core.engines.executorch.engine import ExecutorchEngine
from core.engines.hf_tokenizer import JsonTokenizer
from core.engines.registry import Engines
from core.errors import ArtifactError, Cancelled, ContextExceeded, EngineFailed, LoadFailed, RequestError
from core.events import Event, Failed, Finished, FinishReason, TextDelta, fold_events
from core.guide import WEIGHTS
from core.guide.convert.mlx import LlamaHeader, build_tokenizer_config, write_tokenizer
from core.models.resolve import resolve_own
from core.requests import Conversation, Message, RawText, RawTokens, ResolvedGeneration, Role, Sampling, TextPart

DOCUMENTED = Path(__file__).with_name("documented")
GREEDY = Sampling(temperature=0.0)
END = 2
HEAD = b"\0\0\0\0ET12"


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with guide's tokenizer and chat template."""
    folder = tmp_path_factory.mktemp("guide")
    header = LlamaHeader(gguf.GGUFReader(WEIGHTS))
    write_tokenizer(folder / "tokenizer.json", header)
    (folder / "tokenizer_config.json").write_text(json.dumps(build_tokenizer_config(header)))
    return folder


@pytest.fixture(scope="module")
def tokenizer(beside: Path) -> JsonTokenizer:
    return JsonTokenizer("guide", beside / "tokenizer.json")


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in in front of whatever is installed, in the engine's process and in this one."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(DOCUMENTED), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(str(DOCUMENTED))


def program(folder: Path, script: list[int], **about: object) -> Artifact:
    path = folder / "model.pte"
    path.write_bytes(HEAD + json.dumps({"context": 64, "vocabulary": 2048, "script": script, **about}).encode())
    return resolve_own(str(path))


@pytest.fixture
def loaded(runtime: None, beside: Path, tokenizer: JsonTokenizer) -> Iterator[StreamModel]:
    script = [*tokenizer.encode("Hello there, café", special=False), END]
    model = ExecutorchEngine().load(program(beside, script), LoadOptions())
    yield model
    model.shutdown()


def asked(text: str = "Hi", **fields: object) -> ResolvedGeneration:
    message = Message(Role.USER, (TextPart(text),))
    return ResolvedGeneration("guide", Conversation((message,)), **{"sampling": GREEDY, **fields})  # type: ignore[arg-type]


def events(model: StreamModel, request: ResolvedGeneration) -> list[Event]:
    return list(model.generate(request, threading.Event()))


def last(found: list[Event]) -> Finished:
    assert isinstance(found[-1], Finished)
    return found[-1]


def test_a_missing_package_is_a_reason_with_its_mend() -> None:
    if find_spec("executorch") is not None:
        pytest.skip("executorch is installed here")
    if sys.platform == "win32":
        pytest.skip("executorch has no build for Windows")
    found = ExecutorchEngine().availability()
    assert found == Unavailable(
        "The package executorch is not installed.", "uv pip install executorch 'torch>=2.13,<2.14'"
    )


def test_a_program_is_known_by_its_content_and_chooses_this_engine(runtime: None, beside: Path) -> None:
    artifact = program(beside, [END])
    assert artifact.format == "pte"
    assert Engines().choose(artifact).name == "executorch"


def test_the_answer_is_streamed_up_to_the_end_of_the_turn(loaded: StreamModel, tokenizer: JsonTokenizer) -> None:
    found = events(loaded, asked())
    assert "".join(event.text for event in found if isinstance(event, TextDelta)) == "Hello there, café"
    assert last(found).reason is FinishReason.STOP
    prompt = tokenizer.encode("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", special=True)
    assert last(found).usage.prompt_tokens == len(prompt)
    assert last(found).usage.completion_tokens == sum(e.tokens for e in found if isinstance(e, TextDelta))


def test_a_character_of_several_tokens_comes_out_whole(runtime: None, beside: Path, tokenizer: JsonTokenizer) -> None:
    script = tokenizer.encode("日本", special=False)
    assert len(script) > 2, "the vocabulary of the test must split these"
    model = ExecutorchEngine().load(program(beside, [*script, END]), LoadOptions())
    texts = [event.text for event in events(model, asked()) if isinstance(event, TextDelta)]
    model.shutdown()
    assert [text for text in texts if text] == ["日", "本"]


def test_a_stop_string_ends_the_answer_and_is_not_shown(loaded: StreamModel) -> None:
    found = events(loaded, asked(stop=("there", "never")))
    assert fold_events(found).choices[0].text == "Hello "
    assert (last(found).reason, last(found).stop) == (FinishReason.STOP_SEQUENCE, "there")
    assert fold_events(events(loaded, asked())).choices[0].text == "Hello there, café"


def test_max_tokens_and_a_full_context_are_told_apart(loaded: StreamModel) -> None:
    found = last(events(loaded, asked(max_tokens=3)))
    assert (found.reason, found.usage.completion_tokens) == (FinishReason.LENGTH, 3)
    found = last(events(loaded, asked(ignore_eos=True)))
    assert found.reason is FinishReason.CONTEXT
    assert found.usage.prompt_tokens + found.usage.completion_tokens == 64


def test_sampling_is_honoured_to_the_letter(loaded: StreamModel, tokenizer: JsonTokenizer) -> None:
    first = tokenizer.encode("Hello", special=False)[0]
    banned = events(
        loaded, asked(max_tokens=1, sampling=Sampling(temperature=0.0, logit_bias=((first, -float("inf")),)))
    )
    assert fold_events(banned).choices[0].text == tokenizer.piece(7).decode()
    seeded = asked(sampling=Sampling(temperature=1.0, seed=4), ignore_eos=True)
    assert fold_events(events(loaded, seeded)).choices == fold_events(events(loaded, seeded)).choices
    probable = fold_events(events(loaded, asked(max_tokens=2, sampling=Sampling(temperature=0.0, logprobs=2)))).choices[
        0
    ]
    assert [len(each.top) for each in probable.logprobs] == [2, 2]
    assert probable.logprobs[0].top[1].data == tokenizer.piece(7)


def test_choices_come_one_after_another(loaded: StreamModel) -> None:
    choices = fold_events(events(loaded, asked(n=2))).choices
    assert [choice.text for choice in choices] == ["Hello there, café"] * 2


def test_a_cancelled_request_leaves_the_runtime_ready_for_the_next(loaded: StreamModel) -> None:
    stop = threading.Event()
    stream = loaded.generate(asked(ignore_eos=True), stop)
    next(stream)
    stop.set()
    with pytest.raises(Cancelled):
        list(stream)
    assert fold_events(events(loaded, asked())).choices[0].text == "Hello there, café"


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ResolvedGeneration("guide", RawTokens((99999,))), "prompt"),
        (ResolvedGeneration("guide", RawText("")), "prompt"),
        (asked(sampling=Sampling(logit_bias=((99999, 1.0),))), "logit_bias"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_field(
    loaded: StreamModel, request_: ResolvedGeneration, field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        events(loaded, request_)
    assert caught.value.field == field


def test_a_prompt_that_fills_the_context_is_refused(loaded: StreamModel) -> None:
    with pytest.raises(ContextExceeded):
        events(loaded, asked("many words " * 100))


def test_a_runtime_that_crashes_fails_the_request_and_starts_again(
    runtime: None, beside: Path, tokenizer: JsonTokenizer
) -> None:
    script = tokenizer.encode("one two three four", special=False)
    model = ExecutorchEngine().load(program(beside, script, crashes=40), LoadOptions())
    (failed,) = [event for event in events(model, asked()) if isinstance(event, Failed)]
    assert isinstance(failed.error, EngineFailed)
    assert "SIGABRT" in str(failed.error)
    assert last(events(model, asked(max_tokens=2))).usage.completion_tokens == 2
    model.shutdown()


def test_a_pass_that_fails_fails_its_request_alone(runtime: None, beside: Path, tokenizer: JsonTokenizer) -> None:
    script = tokenizer.encode("one two three four", special=False)
    model = ExecutorchEngine().load(program(beside, script, fails=40), LoadOptions())
    (failed,) = [event for event in events(model, asked()) if isinstance(event, Failed)]
    assert "forward pass failed" in str(failed.error)
    assert last(events(model, asked(max_tokens=2))).usage.completion_tokens == 2
    model.shutdown()


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"inputs": 1}, "export it with a KV cache"),
        ({"inputs": 3}, "instead of tokens and a position"),
        ({"without": "forward"}, "exported for another runner"),
        ({"without": "enable_dynamic_shape"}, "dynamic shapes"),
        ({"fails": 1}, "forward pass failed"),
        ({"crashes": 1}, "crashed with SIGABRT"),
        ({"vocabulary": 300}, "do not belong together"),
    ],
)
def test_a_program_that_is_not_fit_is_refused_with_the_reason(
    runtime: None, beside: Path, about: dict[str, object], words: str
) -> None:
    with pytest.raises(LoadFailed, match=words):
        ExecutorchEngine().load(program(beside, [3], **about), LoadOptions())


def test_a_damaged_program_is_refused_with_the_reason(runtime: None, beside: Path) -> None:
    path = beside / "damaged.pte"
    path.write_bytes(HEAD + b"not what it should be")
    with pytest.raises(LoadFailed, match="executorch cannot read it"):
        ExecutorchEngine().load(resolve_own(str(path)), LoadOptions())
    path.unlink()


def test_a_program_without_a_tokenizer_is_refused(runtime: None, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no tokenizer\.json"):
        ExecutorchEngine().load(program(tmp_path, [3]), LoadOptions())


def test_a_folder_with_several_programs_asks_for_one_of_them(runtime: None, tmp_path: Path) -> None:
    for name in ("a.pte", "b.pte"):
        (tmp_path / name).write_bytes(HEAD)
    artifact = resolve_own(str(tmp_path))
    assert artifact.format == "pte"
    with pytest.raises(ArtifactError, match=r"holds a\.pte, b\.pte"):
        ExecutorchEngine().load(artifact, LoadOptions())


def test_loading_stops_when_told_to(runtime: None, beside: Path) -> None:
    with pytest.raises(Cancelled):
        ExecutorchEngine().load(program(beside, [3]), LoadOptions(), lambda share: False)
