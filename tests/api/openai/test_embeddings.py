"""Embeddings by way of a real server, a real SDK and onnxruntime, on a small BERT of random weights."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from api.openai.embeddings import MOST_INPUTS
from tests.api.conftest import Served, chat_body, serving
from tests.fakes.bert import CLS, SEP, WIDTH, WORDS, hidden, random_weights, write_embedder

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXTS = ["hello world", "the cache is a token", "hello"]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def bert(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = write_embedder(tmp_path_factory.mktemp("bert") / "tiny")
    async with serving(tmp_path_factory.mktemp("served"), model=str(folder)) as served:
        await served.workbench.models.load("echo")
        yield served


async def embed(served: Served, **fields: object) -> Any:
    create: Any = served.client.embeddings.create
    return await create(**({"model": "tiny", "input": TEXTS} | fields))


async def posted(served: Served, **fields: object) -> httpx.Response:
    return await served.http.post("/v1/embeddings", json={"model": "tiny", "input": TEXTS} | fields)


def error_of(response: httpx.Response) -> dict[str, str]:
    error: dict[str, str] = response.json()["error"]
    return error


def expected(text: str) -> Any:
    tokens = [CLS, *(WORDS.index(word) for word in text.split()), SEP]
    mean = hidden(random_weights(), tokens).mean(axis=0)
    return mean / np.linalg.norm(mean)


async def test_the_sdk_gets_the_vectors_in_order_with_their_usage(bert: Served) -> None:
    answer = await embed(bert)
    assert (answer.object, answer.model) == ("list", "tiny")
    assert [each.index for each in answer.data] == [0, 1, 2]
    for each, text in zip(answer.data, TEXTS, strict=True):
        np.testing.assert_allclose(each.embedding, expected(text), rtol=1e-3, atol=1e-4)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 4 + 7 + 3


async def test_numbers_and_base64_are_the_same_vectors(bert: Served) -> None:
    plain, packed = (await posted(bert)).json(), (await posted(bert, encoding_format="base64")).json()
    for one, other in zip(plain["data"], packed["data"], strict=True):
        assert one["object"] == "embedding"
        assert np.frombuffer(base64.b64decode(other["embedding"]), "<f4").tolist() == one["embedding"]


async def test_a_text_and_tokens_come_in_four_shapes(bert: Served) -> None:
    tokens = [CLS, WORDS.index("hello"), SEP]
    for shape in ("hello", ["hello"], tokens, [tokens]):
        answer = await embed(bert, input=shape, encoding_format="float")
        assert answer.usage.prompt_tokens == 3
        np.testing.assert_allclose(answer.data[0].embedding, expected("hello"), rtol=1e-3, atol=1e-4)


async def test_fewer_dimensions_are_the_first_ones_brought_to_length_one(bert: Served) -> None:
    answer = await embed(bert, input="hello", dimensions=8)
    first = expected("hello")[:8]
    np.testing.assert_allclose(answer.data[0].embedding, first / np.linalg.norm(first), rtol=1e-3, atol=1e-4)


async def test_a_text_too_long_is_refused_unless_it_may_be_cut(bert: Served) -> None:
    long = " ".join(["hello"] * 40)
    response = await posted(bert, input=["hello", long])
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, "input[1]", "context_length_exceeded")
    assert "42 tokens and the model takes 24" in error["message"]
    cut = (await posted(bert, input=["hello", long], truncate=True)).json()
    assert cut["usage"]["prompt_tokens"] == 3 + 24


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["hello", ""]}, "input[1]"),
        ({"input": ["hello", 5]}, "input[1]"),
        ({"input": [5, "hello"]}, "input[0]"),
        ({"input": ["hello", [5]]}, "input[1]"),
        ({"input": [[5], []]}, "input[1]"),
        ({"input": [5, 10_000]}, "input[0]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": {"text": "hello"}}, "input"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "input"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": WIDTH + 1}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"inputs": "hello"}, "inputs"),
    ],
)
async def test_what_is_wrong_is_refused_by_name(bert: Served, fields: dict[str, object], param: str) -> None:
    response = await posted(bert, **fields)
    assert response.status_code == 400, response.text
    assert error_of(response)["param"] == param


async def test_who_is_asked_for_what_it_cannot_do_says_where_it_is_asked(bert: Served) -> None:
    chat = await bert.http.post("/v1/chat/completions", json=chat_body(model="tiny"))
    assert chat.status_code == 404
    assert "/v1/embeddings" in error_of(chat)["message"]
    wrong = await posted(bert, model="echo")
    assert wrong.status_code == 404
    assert "/v1/chat/completions" in error_of(wrong)["message"]
    assert (await posted(bert, model="nobody")).status_code == 404


async def test_many_at_once_are_all_answered(bert: Served) -> None:
    answers = await asyncio.gather(*(embed(bert, input=text, user="u") for text in TEXTS * 8))
    for answer, text in zip(answers, TEXTS * 8, strict=True):
        np.testing.assert_allclose(answer.data[0].embedding, expected(text), rtol=1e-3, atol=1e-4)
    (model,) = [each for each in bert.workbench.snapshot().models if each.name == "tiny"]
    assert (model.slots_used, model.requests, model.engine) == (0, (), "onnxruntime")


async def test_the_document_tells_the_bodies(bert: Served) -> None:
    document = (await bert.http.get("/schema/openapi.json")).json()
    operation = document["paths"]["/v1/embeddings"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("EmbeddingRequest")
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("EmbeddingList")
    assert {"EmbeddingRequest", "ChatRequest"} <= document["components"]["schemas"].keys()
    assert document["paths"]["/v1/chat/completions"]["post"]["requestBody"]


async def test_an_embedder_is_a_model_like_the_others(bert: Served) -> None:
    card = (await bert.http.get("/v1/models/tiny")).json()
    assert (card["architecture"], card["engine"], card["context_length"]) == ("bert", "onnxruntime", 24)
