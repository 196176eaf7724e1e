"""The mlc-llm engine over a stand-in for MLCEngine; it has never run on the real one."""

import json
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from benchtop_mlc.engine import MEND, MlcEngine
from benchtop_mlc.format import MlcFormat

from core.contract.artifact import Artifact
from core.contract.engine import Unavailable
from core.contract.models import StreamModel
from core.contract.options import LoadOptions
from core.errors import ArtifactError, Cancelled, EngineFailed, LoadFailed, RequestError
from core.events import Event, Failed, Finished, FinishReason, TextDelta, fold_events
from core.models.formats.listing import FileListing
from core.requests import (
    Caller,
    Conversation,
    Message,
    RawText,
    RawTokens,
    ResolvedGeneration,
    Role,
    Sampling,
    TextPart,
)

DOCUMENTED = Path(__file__).with_name("documented")
GREEDY = Sampling(temperature=0.0)
CONFIG = {"model_type": "llama", "quantization": "q4f16_1", "context_window_size": 2048, "temperature": 0.6}


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The stand-in where the engine imports mlc_llm from, and nothing of it left behind."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(DOCUMENTED))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mlc_llm", "tvm") and name not in before]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mlc-chat-config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "ndarray-cache.json").write_text("{}")
    return tmp_path


def artifact(folder: Path) -> Artifact:
    return Artifact("mine", "mlc", folder, 1)


@pytest.fixture
def loaded(runtime: None, folder: Path) -> Iterator[StreamModel]:
    model = MlcEngine().load(artifact(folder), LoadOptions())
    yield model
    model.shutdown()


def native(model: StreamModel) -> Any:
    """The stand-in under a model."""
    return model._engine  # type: ignore[attr-defined]


def asked(*texts: str, **fields: object) -> ResolvedGeneration:
    messages = tuple(Message(Role.USER, (TextPart(text),)) for text in texts or ("Hi",))
    return ResolvedGeneration("m", Conversation(messages), **{"sampling": GREEDY, **fields})  # type: ignore[arg-type]


def events(model: StreamModel, request: ResolvedGeneration) -> list[Event]:
    return list(model.generate(request, threading.Event()))


def test_a_missing_package_is_a_reason_with_where_to_read_on() -> None:
    if find_spec("mlc_llm") is not None:
        pytest.skip("mlc-llm is installed here")
    assert MlcEngine().availability() == Unavailable("The package mlc-llm is not installed.", MEND)


@pytest.mark.parametrize("weights", ["ndarray-cache.json", "tensor-cache.json"])
def test_a_folder_is_known_by_its_configuration_and_weights(folder: Path, weights: str) -> None:
    assert not MlcFormat().is_folder(folder.parent)
    (folder / "ndarray-cache.json").rename(folder / weights)
    assert MlcFormat().is_folder(folder)
    listing = FileListing({"mlc-chat-config.json": 1, weights: 2, "params_shard_0.bin": 3, "README.md": 4})
    (group,) = MlcFormat().group_files(listing)
    assert group.files == ("mlc-chat-config.json", weights, "params_shard_0.bin")


def test_the_model_is_described_by_its_configuration(runtime: None, folder: Path) -> None:
    model = MlcEngine().load(artifact(folder), LoadOptions(ctx_size=4096))
    assert (model.spec.context, model.spec.slots, model.spec.quantization) == (2048, 1, "q4f16_1")
    assert model.spec.sampling == Sampling(temperature=0.6, top_k=0, top_p=1.0, min_p=0.0)
    assert any("not 4096" in note for note in model.spec.notes)
    assert native(model).engine_config.max_single_sequence_length == 2048


def test_the_answer_is_streamed_with_its_usage(loaded: StreamModel) -> None:
    found = events(loaded, asked())
    assert [event.text for event in found if isinstance(event, TextDelta)] == ["Hel", "lo ", "the", "re, ", "you"]
    (end,) = [event for event in found if isinstance(event, Finished)]
    assert (end.reason, end.usage.prompt_tokens, end.usage.completion_tokens) == (FinishReason.STOP, 12, 5)


def test_max_tokens_and_a_full_context_are_told_apart(loaded: StreamModel) -> None:
    assert fold_events(events(loaded, asked(max_tokens=2))).choices[0].reason is FinishReason.LENGTH
    native(loaded).ending = "length"
    assert fold_events(events(loaded, asked())).choices[0].reason is FinishReason.CONTEXT


def test_a_stop_string_is_not_shown_and_aborts_the_rest(loaded: StreamModel) -> None:
    found = events(loaded, asked(stop=("there",)))
    assert "".join(event.text for event in found if isinstance(event, TextDelta)) == "Hello "
    (end,) = [event for event in found if isinstance(event, Finished)]
    assert (end.reason, end.stop) == (FinishReason.STOP_SEQUENCE, "there")
    assert native(loaded).events[-1] == "abort"


def test_a_request_is_written_as_the_interface_wants_it(loaded: StreamModel) -> None:
    sampling = Sampling(
        temperature=0.5,
        top_k=0,
        top_p=0.9,
        min_p=0.0,
        seed=3,
        logit_bias=((5, -float("inf")),),
        frequency_penalty=0.5,
        logprobs=2,
    )
    reply = fold_events(events(loaded, asked(sampling=sampling, ignore_eos=True, n=2)))
    (call,) = native(loaded).calls
    assert call["messages"] == [{"role": "user", "content": "Hi"}]
    assert (call["temperature"], call["top_p"], call["seed"], call["n"]) == (0.5, 0.9, 3, 2)
    assert (call["logit_bias"], call["frequency_penalty"]) == ({5: -100.0}, 0.5)
    assert (call["logprobs"], call["top_logprobs"]) == (True, 2)
    assert call["extra_body"] == {"debug_config": {"ignore_eos": True}}
    assert call["stop"] is None
    assert len(reply.choices) == 2
    assert reply.usage.completion_tokens == 10
    assert [len(each.top) for each in reply.choices[1].logprobs] == [2] * 5


def test_prompts_without_a_template_go_to_completions(loaded: StreamModel) -> None:
    for prompt in (RawText("Once"), RawTokens((1, 2))):
        assert (
            fold_events(events(loaded, ResolvedGeneration("m", prompt, GREEDY))).choices[0].text == "Hello there, you"
        )
    assert [call["prompt"] for call in native(loaded).calls] == ["Once", [1, 2]]


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(top_k=40, min_p=0.0), "top_k"),
        (Sampling(top_k=0, min_p=0.05), "min_p"),
        (Sampling(top_k=0, min_p=0.0, typical_p=0.5), "typical_p"),
        (Sampling(temperature=0.0, repeat_penalty=1.1), "repeat_penalty"),
        (Sampling(temperature=0.0, presence_penalty=1.0, repeat_last_n=8), "repeat_last_n"),
    ],
)
def test_what_it_has_not_is_refused_by_field(loaded: StreamModel, sampling: Sampling, field: str) -> None:
    with pytest.raises(RequestError) as caught:
        events(loaded, asked(sampling=sampling))
    assert caught.value.field == field
    assert native(loaded).calls == []


def test_what_mlc_llm_refuses_is_the_requests_fault(loaded: StreamModel) -> None:
    system = Message(Role.DEVELOPER, (TextPart("Be brief."),))
    user = Message(Role.USER, (TextPart("Hi"),))
    with pytest.raises(RequestError, match="System prompt at position 1"):
        events(loaded, ResolvedGeneration("m", Conversation((user, system)), GREEDY))


def test_a_fault_amid_an_answer_fails_it(loaded: StreamModel) -> None:
    native(loaded).ending = "fault"
    *_, failed = events(loaded, asked())
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, EngineFailed)
    assert "the device is lost" in str(failed.error)


def test_a_cancelled_request_is_aborted(loaded: StreamModel) -> None:
    stop = threading.Event()
    stream = loaded.generate(asked(), stop)
    next(stream)
    stop.set()
    with pytest.raises(Cancelled):
        list(stream)
    assert native(loaded).events[-1] == "abort"
    assert fold_events(events(loaded, asked())).choices[0].text == "Hello there, you"


def test_no_tenant_hits_the_prompts_of_another(loaded: StreamModel) -> None:
    resets = []
    for tenant, cache in (("a", True), ("a", True), ("b", True), ("b", False), ("b", True)):
        native(loaded).events.clear()
        events(loaded, asked(caller=Caller(tenant=tenant), cache=cache))
        resets.append(native(loaded).events.count("reset"))
    assert resets == [1, 0, 1, 1, 1]


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": 1}', json.dumps({**CONFIG, "context_window_size": -1})])
def test_a_damaged_configuration_is_refused(runtime: None, folder: Path, content: str) -> None:
    (folder / "mlc-chat-config.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"mlc-chat-config\.json"):
        MlcEngine().load(artifact(folder), LoadOptions())


def test_a_model_that_cannot_be_compiled_is_refused_with_the_reason(runtime: None, folder: Path) -> None:
    (folder / "unfit").touch()
    with pytest.raises(LoadFailed, match="Cannot find a compiler for this device"):
        MlcEngine().load(artifact(folder), LoadOptions())


def test_loading_stops_when_told_to(runtime: None, folder: Path) -> None:
    with pytest.raises(Cancelled):
        MlcEngine().load(artifact(folder), LoadOptions(), lambda share: share < 1.0)
