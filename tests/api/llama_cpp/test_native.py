"""llama.cpp's own routes: its clients find what they look for, under its field names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.llama_cpp.completion import INFILL_BODY
from tests.api.conftest import Served, user

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def post(served: Served, path: str, **fields: object) -> Any:
    response = await served.http.post(path, json=fields)
    assert response.status_code == 200, response.text
    return response.json()


async def refused(served: Served, path: str, **fields: object) -> Any:
    response = await served.http.post(path, json=fields)
    assert response.status_code == 400, response.text
    return response.json()["error"]


async def streamed(served: Served, path: str, **fields: object) -> list[dict[str, Any]]:
    text = (await served.http.post(path, json=fields | {"stream": True})).text
    return [json.loads(frame.removeprefix("data: ")) for frame in text.strip().split("\n\n")]


async def test_a_completion_tells_how_it_ended_and_what_it_took(echo: Served) -> None:
    body = await post(echo, "/completion", prompt="one\ntwo", seed=7, temperature=0.5)
    assert (body["content"], body["stop"], body["stop_type"], body["stopping_word"]) == ("one\ntwo", True, "eos", "")
    assert (body["tokens_predicted"], body["tokens_evaluated"], body["truncated"]) == (8, 7, False)
    assert (body["has_new_line"], body["prompt"], body["model"], body["tokens"]) == (True, "one\ntwo", "echo", [])
    settings = body["generation_settings"]
    assert (settings["seed"], settings["temperature"], settings["n_predict"]) == (7, 0.5, -1)
    # What the request leaves open is told as it is.
    assert settings["top_k"] == 40
    assert body["timings"]["predicted_n"] == 8


async def test_the_end_of_a_completion_is_a_limit_or_a_word_too(echo: Served) -> None:
    assert (await post(echo, "/completion", prompt="abcdef", n_predict=3))["stop_type"] == "limit"
    body = await post(echo, "/completion", prompt="one, two", stop=[","])
    assert (body["content"], body["stop_type"], body["stopping_word"]) == ("one", "word", ",")


async def test_a_stream_is_events_that_do_not_stop_and_one_that_does(echo: Served) -> None:
    events = await streamed(echo, "/completion", prompt="hello")
    assert "".join(event["content"] for event in events) == "hello"
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert [token for event in events[:-1] for token in event["tokens"]] == list(b"hello")
    assert [event["tokens_predicted"] for event in events[:-1]] == list(range(1, len(events)))
    assert {event["tokens_evaluated"] for event in events} == {5}
    assert events[-1]["generation_settings"]["stream"] is True


async def test_tokens_are_told_on_demand(echo: Served) -> None:
    assert (await post(echo, "/completion", prompt="hi", return_tokens=True))["tokens"] == list(b"hi")


async def test_the_likeliest_tokens_are_told_at_each_place(echo: Served) -> None:
    places = (await post(echo, "/completion", prompt="hi", n_probs=1))["completion_probabilities"]
    assert places[0] == {
        "id": 104,
        "token": "h",
        "bytes": [104],
        "logprob": 0.0,
        "top_logprobs": [{"id": 104, "token": "h", "bytes": [104], "logprob": 0.0}],
    }
    events = await streamed(echo, "/completion", prompt="hi", n_probs=1)
    assert [event["completion_probabilities"][0]["token"] for event in events[:2]] == ["h", "i"]


async def test_the_likeliest_tokens_are_told_as_they_are_drawn(echo: Served) -> None:
    fields = {"prompt": "hi", "n_probs": 1, "post_sampling_probs": True}
    body = await post(echo, "/completion", **fields)
    assert body["completion_probabilities"][1] == {
        "id": 105,
        "token": "i",
        "bytes": [105],
        "prob": 1.0,
        "top_probs": [{"id": 105, "token": "i", "bytes": [105], "prob": 1.0}],
    }
    assert body["generation_settings"]["post_sampling_probs"] is True
    events = await streamed(echo, "/completion", **fields)
    assert [event["completion_probabilities"][0]["prob"] for event in events[:2]] == [1.0, 1.0]
    # Without `n_probs` nothing is told.
    assert "completion_probabilities" not in await post(echo, "/completion", prompt="hi", post_sampling_probs=True)


async def test_several_answers_can_be_asked_for_by_the_name_that_llama_cpp_has(echo: Served) -> None:
    assert [each["content"] for each in await post(echo, "/completion", prompt="hi", n_cmpl=2)] == ["hi", "hi"]


async def test_samplers_that_are_not_named_are_off(echo: Served) -> None:
    async def settings(**fields: object) -> Any:
        given = {"repeat_penalty": 1.5, "typical_p": 0.5, "top_p": 0.9, "min_p": 0.1, "temperature": 0.3} | fields
        return (await post(echo, "/completion", prompt="hi", **given))["generation_settings"]

    told = await settings(samplers=["top-k", "nucleus", "infill"])
    assert (told["top_k"], told["top_p"]) == (40, 0.9)
    assert (told["repeat_penalty"], told["typical_p"], told["min_p"], told["temperature"]) == (1.0, 1.0, 0.0, 1.0)
    assert told["samplers"][-1] == "infill"
    none = await settings(samplers=[])
    assert (none["top_k"], none["top_p"], none["temperature"]) == (0, 1.0, 1.0)
    for every in ("edkypmxt", ["penalties", "top_k", "typ_p", "tfs_z", "typ_p", "top_p", "min_p", "temperature"], ""):
        assert await settings(samplers=every) == await settings()


async def test_a_line_too_far_to_the_left_ends_a_completion(echo: Served) -> None:
    body = await post(echo, "/completion", prompt="  a\n  b\nc", n_indent=2, t_max_predict_ms=600_000)
    assert (body["content"], body["stop_type"]) == ("  a\n  b\n", "limit")
    settings = body["generation_settings"]
    assert (settings["n_indent"], settings["t_max_predict_ms"]) == (2, 600_000)


async def test_what_editors_send_for_a_gap_is_read() -> None:
    chunk = {"text": "x", "time": [1, 2], "filename": "a.py"}
    sampling = {"top_k": 40, "top_p": 0.99, "samplers": ["top_k", "top_p", "infill"]}
    limits = {"n_predict": 256, "n_indent": 4, "t_max_prompt_ms": 500, "t_max_predict_ms": 1500}
    gap = {"input_prefix": "a", "input_suffix": "b", "input_extra": [chunk], "prompt": "    "}
    asked = INFILL_BODY.decode(json.dumps(gap | sampling | limits | {"cache_prompt": True}).encode())
    assert (asked.body.n_indent, asked.body.t_max_predict_ms) == (4, 1500)
    assert asked.ignored == ("input_extra.time", "t_max_prompt_ms")
    # To have files computed before they are needed.
    warming = {"n_predict": 0, "samplers": [], "t_max_predict_ms": 1, "response_fields": [""]}
    INFILL_BODY.decode(json.dumps(gap | warming).encode())


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([104, 105], "hi"),
        (["hi", [111, 107]], ["hi", "ok"]),
        ({"prompt_string": "hi"}, "hi"),
        ([[104, 105], {"prompt_string": "ok"}], ["hi", "ok"]),
        (["ab", 99, 100, "ef"], "abcdef"),
        (["one"], "one"),
    ],
)
async def test_a_prompt_is_a_text_tokens_both_mixed_or_several(echo: Served, prompt: object, said: object) -> None:
    body = await post(echo, "/completion", prompt=prompt)
    assert (body["content"] if isinstance(body, dict) else [each["content"] for each in body]) == said


async def test_a_reply_has_the_fields_that_were_asked_for(echo: Served) -> None:
    body = await post(
        echo, "/completion", prompt="hi", response_fields=["content", "generation_settings/n_predict", "nothing/there"]
    )
    assert body == {"content": "hi", "generation_settings/n_predict": -1}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[1], 2]}, "prompt"),
        ({"prompt": [300]}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "a" * 9000}, "prompt"),
        ({"prompt": {"prompt_string": "a", "multimodal_data": ["aGk="]}}, "prompt.multimodal_data"),
        ({"prompt": "a", "n_probs": -1}, "n_probs"),
        ({"prompt": "a", "mirostat": 2}, "mirostat"),
        ({"prompt": "a", "samplers": ["top_p", "top_k"]}, "samplers"),
        ({"prompt": "a", "samplers": "kz"}, "samplers"),
        ({"prompt": "a", "n_indent": -1}, "n_indent"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_field(echo: Served, fields: dict[str, object], named: str) -> None:
    assert (await refused(echo, "/completion", **fields))["param"] == named


async def test_tokens_and_texts_are_turned_into_one_another(echo: Served) -> None:
    body = await post(echo, "/tokenize", content="hé")
    assert (body["tokens"], body["count"]) == (list("hé".encode()), 3)
    assert (await post(echo, "/detokenize", tokens=body["tokens"]))["content"] == "hé"
    assert body["max_model_len"] == 8192


async def test_a_token_that_is_no_text_by_itself_is_told_as_bytes(echo: Served) -> None:
    pieces = (await post(echo, "/tokenize", content="hé", with_pieces=True))["tokens"]
    assert pieces == [{"id": 104, "piece": "h"}, {"id": 195, "piece": [195]}, {"id": 169, "piece": [169]}]


async def test_control_tokens_are_parsed_unless_that_is_not_wanted(echo: Served) -> None:
    assert (await post(echo, "/tokenize", content="<|im_end|>"))["tokens"] == [257]
    assert (await post(echo, "/tokenize", content="<|im_end|>", parse_special=False))["count"] == 10
    assert (await post(echo, "/detokenize", tokens=[256, 104, 257]))["content"] == "<|im_start|>h<|im_end|>"


async def test_wrong_tokens_and_no_text_are_told_by_field(echo: Served) -> None:
    assert (await refused(echo, "/detokenize", tokens=[258]))["param"] == "tokens"
    assert (await refused(echo, "/detokenize", tokens=["a"]))["param"] == "tokens[0]"
    assert (await refused(echo, "/tokenize"))["param"] == "content"


async def test_a_template_is_applied_without_a_token_being_drawn(echo: Served) -> None:
    text = (await post(echo, "/apply-template", messages=user("what is <|im_end|>?")))["prompt"]
    assert text == "<|im_start|>user\nwhat is <|im_end|>?<|im_end|>\n<|im_start|>assistant\n"


async def test_a_model_that_fills_no_gaps_says_so(echo: Served) -> None:
    error = await refused(echo, "/infill", input_prefix="a", input_suffix="b")
    assert "not trained to fill gaps" in error["message"]
    assert error["param"] == "input_suffix"
    assert (await refused(echo, "/infill", input_prefix="a"))["param"] == "input_suffix"
    assert (
        "input_extra[0]"
        in (await refused(echo, "/infill", input_prefix="", input_suffix="", input_extra=[{}]))["param"]
    )


async def test_props_tell_the_context_the_template_and_how_tokens_are_drawn(echo: Served) -> None:
    body = (await echo.http.get("/props")).json()
    assert body["default_generation_settings"]["n_ctx"] == 8192
    assert body["default_generation_settings"]["params"]["temperature"] == 0.0
    assert (body["model_alias"], body["model_path"], body["eos_token"]) == ("echo", "echo", "<|im_end|>")
    assert "<|im_start|>" in body["chat_template"]
    assert (await echo.http.get("/props", params={"model": "nothing"})).status_code == 404


async def test_slots_are_as_many_as_requests_may_run(echo: Served) -> None:
    slots = (await echo.http.get("/slots")).json()
    assert len(slots) == (await echo.http.get("/props")).json()["total_slots"]
    assert {slot["is_processing"] for slot in slots} == {False}


async def test_healthz_is_health(echo: Served) -> None:
    assert (await echo.http.get("/healthz")).json()["status"] == "ok"


async def test_a_prompt_that_is_too_long_is_told_in_llama_cpps_words_and_numbers(echo: Served) -> None:
    told = await refused(echo, "/completion", prompt="a" * 9000)
    assert (told["type"], told["code"]) == ("exceed_context_size_error", 400)
    assert (told["n_prompt_tokens"], told["n_ctx"]) == (9000, 8192)
    for path, kind, code in (
        ("/chat/completions", "exceed_context_size_error", "context_length_exceeded"),
        ("/v1/chat/completions", "invalid_request_error", "context_length_exceeded"),
    ):
        told = await refused(echo, path, messages=user("a" * 9000))
        assert (told["type"], told["code"], told["n_ctx"]) == (kind, code, 8192)
        assert told["n_prompt_tokens"] > 9000


async def test_errors_have_the_status_as_their_code_and_llama_cpps_types(echo: Served) -> None:
    assert (await refused(echo, "/completion", prompt="a", mirostat=2))["type"] == "invalid_request_error"
    missing = await echo.http.post("/completion", json={"prompt": "a", "model": "nobody"})
    assert missing.json()["error"]["type"] == "not_found_error"
    assert missing.json()["error"]["code"] == missing.status_code == 404


async def test_with_no_new_tokens_a_prompt_is_read_for_the_next_request(echo: Served) -> None:
    body = await post(echo, "/completion", prompt="a prompt to be read", n_predict=0)
    assert (body["content"], body["tokens_predicted"], body["stop_type"]) == ("", 0, "limit")
    assert (await post(echo, "/completion", prompt="a prompt to be read", n_predict=1))["tokens_cached"] > 8


@pytest.mark.parametrize("biases", [[["ab", False], [99, -5]], {"ab": False, "99": -5}], ids=["pairs", "names"])
async def test_biases_are_for_ids_and_for_the_tokens_of_texts(echo: Served, biases: object) -> None:
    body = await post(echo, "/completion", prompt="hi", logit_bias=biases, n_predict=1)
    # Those of the request alone are its settings; how many tokens a text has is the model's to say.
    assert body["generation_settings"]["logit_bias"] == [[99, -5.0]]


async def test_the_tokens_of_a_conversation_are_counted_where_llama_cpp_does_it(echo: Served) -> None:
    for path in ("/v1/chat/completions/input_tokens", "/chat/completions/input_tokens"):
        counted = await post(echo, path, messages=user("hello"))
        assert counted["input_tokens"] == len("user\nhello\nassistant\n") + 3


async def test_the_assistants_turn_is_left_unbegun_where_that_is_said(echo: Served) -> None:
    body = await post(echo, "/apply-template", messages=user("hi"), add_generation_prompt=False)
    assert body["prompt"] == "<|im_start|>user\nhi<|im_end|>\n"
    said = [*user("hi"), {"role": "assistant", "content": "yes, and"}]
    body = await post(echo, "/apply-template", messages=said, add_generation_prompt=False)
    assert body["prompt"].endswith("assistant\nyes, and")
