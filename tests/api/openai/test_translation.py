"""Pure translation between the wire and the core's requests, events and errors."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.http.errors import translate_error
from api.openai.chat import BODY, translate_request
from api.openai.chat_writer import ChatDialect
from api.openai.wire import ChatRequest
from core.errors import (
    BenchtopError,
    Cancelled,
    ContextExceeded,
    EngineFailed,
    LoadFailed,
    ModelNotFound,
    ModelNotReady,
    QueueFull,
    QueueTimeout,
    RequestError,
)
from core.events import Finished, FinishReason, TextDelta, Timings, TokenLogprob, Usage
from core.requests import Conversation, Priority, Role, Sampling
from tests.api.conftest import chat_body

DEFAULTS = Sampling(temperature=0.3, top_k=7, top_p=0.5)


def body_of(**fields: object) -> bytes:
    return msgspec.json.encode(chat_body(**fields))


def test_what_a_client_leaves_out_is_what_the_model_recommends() -> None:
    request = translate_request(BODY.decode(body_of()).body)
    assert request.sampling.over(DEFAULTS) == DEFAULTS
    assert request.max_tokens is None
    assert (request.n, request.stop, request.cache, request.ignore_eos) == (1, (), True, False)


def test_null_means_left_out() -> None:
    nothing = dict.fromkeys(
        ("temperature", "n", "stop", "seed", "stream", "max_tokens", "logit_bias", "tools", "audio")
    )
    assert translate_request(BODY.decode(body_of(**nothing)).body) == translate_request(BODY.decode(body_of()).body)


def test_what_a_client_says_replaces_what_the_model_recommends() -> None:
    body = body_of(
        temperature=0, top_k=-1, top_p=1, min_p=0.2, seed=3, repeat_penalty=1.5, logit_bias={"5": -100}, logprobs=True
    )
    sampling = translate_request(BODY.decode(body).body).sampling.over(DEFAULTS)
    assert sampling.greedy
    assert (sampling.top_k, sampling.top_p, sampling.min_p, sampling.seed) == (0, 1.0, 0.2, 3)
    assert (sampling.repeat_penalty, sampling.logit_bias, sampling.logprobs) == (1.5, ((5, -100.0),), 0)


def test_a_repetition_penalty_looks_at_the_whole_text_unless_the_request_says_how_far() -> None:
    def read(**fields: object) -> tuple[float | None, int | None]:
        sampling = translate_request(BODY.decode(body_of(**fields)).body).sampling
        return sampling.repeat_penalty, sampling.repeat_last_n

    assert read(repetition_penalty=1.1) == (1.1, -1)
    assert read(repetition_penalty=1.1, repeat_penalty=1.1, repeat_last_n=32) == (1.1, 32)
    assert read(repeat_penalty=1.1) == (1.1, None)
    with pytest.raises(RequestError, match="send one of them"):
        read(repetition_penalty=1.1, repeat_penalty=1.2)


def test_one_stop_string_and_many_come_to_the_same() -> None:
    assert translate_request(BODY.decode(body_of(stop="x")).body).stop == ("x",)
    assert translate_request(BODY.decode(body_of(stop=["x", "y"])).body).stop == ("x", "y")


def test_a_conversation_keeps_roles_names_and_template_arguments() -> None:
    body = body_of(
        messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "u", "name": "ann"}],
        chat_template_kwargs={"enable_thinking": False},
    )
    prompt = translate_request(BODY.decode(body).body).prompt
    assert isinstance(prompt, Conversation)
    assert [(message.role, message.text, message.name) for message in prompt.messages] == [
        (Role.SYSTEM, "s", None),
        (Role.USER, "u", "ann"),
    ]
    assert prompt.template_arguments == {"enable_thinking": False}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(ChatRequest.__struct_fields__)


@given(fields=st.dictionaries(FIELDS | st.text(), ANYTHING))
@settings(deadline=None)
def test_whatever_json_comes_it_is_a_request_or_an_error_that_is_told(fields: dict[str, object]) -> None:
    with suppress(RequestError):
        translate_request(BODY.decode(json.dumps(chat_body(**fields)).encode()).body)


@given(body=st.binary() | st.text().map(str.encode))
@settings(deadline=None)
def test_whatever_bytes_come_an_error_is_told(body: bytes) -> None:
    with pytest.raises(RequestError):
        BODY.decode(body)


ERRORS = [
    (ContextExceeded(9, 8), 400, "context_length_exceeded", {}),
    (RequestError("wrong", "n"), 400, None, {}),
    (ModelNotFound("m", "none"), 404, "model_not_found", {}),
    (ModelNotReady("m", "soon"), 503, "model_not_ready", {"retry-after": "2"}),
    (LoadFailed("m", "no"), 500, None, {}),
    (QueueFull(3, 7), 503, "queue_full", {"retry-after": "7"}),
    (QueueTimeout(60), 504, "queue_timeout", {"x-should-retry": "false"}),
    (Cancelled(), 499, "cancelled", {}),
    (EngineFailed("broke"), 500, "engine_failed", {}),
    (BenchtopError("other"), 500, None, {}),
]


@pytest.mark.parametrize(("error", "status", "code", "headers"), ERRORS, ids=[type(row[0]).__name__ for row in ERRORS])
def test_each_error_has_its_status_code_and_headers(
    error: BenchtopError, status: int, code: str | None, headers: dict[str, str]
) -> None:
    refused = translate_error(error)
    assert (refused.status, refused.error.code, dict(refused.headers)) == (status, code, headers)
    assert refused.error.message == str(error)


def test_an_unexpected_error_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    refused = translate_error(ValueError("secret details"))
    assert refused.status == 500
    assert "secret" not in refused.error.message
    assert caplog.records[0].exc_info


def test_chunks_of_choices_may_interleave_and_end_apart() -> None:
    dialect = ChatDialect(BODY.decode(body_of(n=2, stream=True)).body, "FP")
    end = [Finished(i, FinishReason.LENGTH, Usage(2, 1, 3), Timings()) for i in range(2)]
    first = dialect.write([TextDelta(1, "b"), TextDelta(0, "a"), end[1]])
    assert not dialect.over
    second = dialect.write([TextDelta(0, "c"), end[0]])
    assert dialect.over
    frames = [json.loads(frame[6:]) for frame in (first + second).decode().split("\n\n") if frame.startswith("data: {")]
    said = [(frame["choices"][0]["index"], frame["choices"][0]["delta"].get("content")) for frame in frames]
    assert said == [(1, None), (1, "b"), (0, None), (0, "a"), (1, None), (0, "c"), (0, None)]
    assert second.endswith(b"data: [DONE]\n\n")


def test_an_impossible_token_has_a_finite_logprob() -> None:
    dialect = ChatDialect(BODY.decode(body_of(logprobs=True, stream=True)).body, "FP")
    never = TokenLogprob("x", b"x", float("-inf"), (TokenLogprob("y", b"y", float("-inf")),))
    assert dialect.write([TextDelta(0, "x", (never,))]).count(b"-9999.0") == 2


def test_a_model_named_like_a_chunk_does_not_break_the_frames() -> None:
    name = '␀","choices":[␀'
    dialect = ChatDialect(BODY.decode(body_of(model=name, stream=True)).body, "FP")
    frames = dialect.write([TextDelta(0, "␀")]).decode().split("\n\n")
    chunk = json.loads(frames[1][6:])
    assert chunk["model"] == name
    assert chunk["choices"][0]["delta"]["content"] == "␀"


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({}, Priority.NORMAL),
        ({"priority": 0, "service_tier": "auto"}, Priority.NORMAL),
        ({"service_tier": "scale"}, Priority.NORMAL),
        ({"service_tier": "flex"}, Priority.BATCH),
        ({"service_tier": "priority"}, Priority.INTERACTIVE),
        ({"priority": 7}, Priority.BATCH),
        ({"priority": -1}, Priority.INTERACTIVE),
        ({"priority": "batch", "service_tier": "priority"}, Priority.BATCH),
    ],
)
def test_priority_and_service_tier_say_who_goes_first(fields: dict[str, object], meant: Priority) -> None:
    assert translate_request(BODY.decode(body_of(**fields)).body).priority is meant


@pytest.mark.parametrize("wrong", ["urgent", 2**40, [1]])
def test_a_priority_that_is_none_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(RequestError, match="priority"):
        BODY.decode(body_of(priority=wrong))
