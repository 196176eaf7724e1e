"""Reranking by way of a real server and onnxruntime, on a small cross-encoder of random weights, in every dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import pytest_asyncio

from api.openai.embeddings import MOST_INPUTS
from api.reranking.wire import MOST_DOCUMENTS
from tests.api.conftest import Served, chat_body, serving
from tests.fakes.bert import (
    CLS,
    SEP,
    WORDS,
    classify,
    hidden,
    make_classifier,
    random_weights,
    write_embedder,
    write_reranker,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUERY = "hello world"
DOCUMENTS = ["the cache is a token", "hello", "a world is a cache"]
LONG = " ".join(["hello"] * 40)
PATHS = ("/v1/rerank", "/v2/rerank", "/rerank", "/v1/reranking", "/reranking")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def bert(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = write_reranker(tmp_path_factory.mktemp("bert") / "judge")
    embedder = write_embedder(tmp_path_factory.mktemp("bert") / "vectors")
    async with serving(tmp_path_factory.mktemp("served"), model=str(folder)) as served:
        await served.workbench.models.load("echo")
        await served.workbench.models.load(str(embedder))
        yield served


async def posted(served: Served, path: str = "/v1/rerank", /, **fields: object) -> httpx.Response:
    return await served.http.post(path, json={"model": "judge", "query": QUERY, "documents": DOCUMENTS} | fields)


def tokens_of(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def logits(documents: Sequence[str] = DOCUMENTS) -> list[float]:
    weights = random_weights() | make_classifier()
    head = [CLS, *tokens_of(QUERY), SEP]
    pairs = [[*head, *tokens_of(document), SEP] for document in documents]
    return [float(classify(weights, hidden(weights, pair, second=len(head))[0])[0]) for pair in pairs]


def shares() -> list[float]:
    return [1 / (1 + float(np.exp(-logit))) for logit in logits()]


def by_index(results: list[dict[str, Any]], name: str) -> list[float]:
    return [each[name] for each in sorted(results, key=lambda each: each["index"])]


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
async def test_documents_come_the_best_first_with_scores_from_0_to_1(bert: Served, path: str) -> None:
    told = (await posted(bert, path)).json()
    results = told["results"]
    np.testing.assert_allclose(by_index(results, "relevance_score"), shares(), atol=1e-4)
    assert [each["relevance_score"] for each in results] == sorted(shares_of(results), reverse=True)
    assert all(set(each) == {"index", "relevance_score"} for each in results)
    count = sum(5 + len(tokens_of(document)) for document in DOCUMENTS)
    assert told["usage"] == {"prompt_tokens": count, "total_tokens": count}
    assert (told["object"], told["model"]) == ("list", "judge")
    assert told["id"]
    version = "2" if path.startswith("/v2") else "1"
    assert told["meta"]["api_version"] == {"version": version}
    assert told["meta"]["tokens"] == {"input_tokens": count}


def shares_of(results: list[dict[str, Any]]) -> list[float]:
    return [each["relevance_score"] for each in results]


@pytest.mark.parametrize("path", ["/v1/reranking", "/reranking"])
async def test_by_llama_cpps_name_scores_are_as_the_model_gives_them(bert: Served, path: str) -> None:
    told = (await posted(bert, path)).json()
    np.testing.assert_allclose(by_index(told["results"], "relevance_score"), logits(), atol=1e-3)
    raw = (await posted(bert, "/v1/rerank", raw_scores=True)).json()
    assert raw["results"] == told["results"]


async def test_the_best_alone_are_told_with_their_documents_where_that_is_asked(bert: Served) -> None:
    whole = (await posted(bert)).json()["results"]
    told = (await posted(bert, top_n=2, return_documents=True)).json()["results"]
    assert [each["index"] for each in told] == [each["index"] for each in whole[:2]]
    assert [each["document"]["text"] for each in told] == [DOCUMENTS[each["index"]] for each in told]
    assert len((await posted(bert, top_n=99)).json()["results"]) == len(DOCUMENTS)
    assert len((await posted(bert, top_k=1)).json()["results"]) == 1


async def test_documents_may_be_objects_with_a_text(bert: Served) -> None:
    objects = [{"text": document} for document in DOCUMENTS]
    told = (await posted(bert, documents=objects, rank_fields=["text"])).json()
    assert told["results"] == (await posted(bert)).json()["results"]


async def test_texts_are_answered_as_text_embeddings_inference_does(bert: Served) -> None:
    body: dict[str, object] = {"query": QUERY, "texts": DOCUMENTS}
    told = (await bert.http.post("/rerank", json=body)).json()
    np.testing.assert_allclose(by_index(told, "score"), shares(), atol=1e-4)
    assert all(set(each) == {"index", "score"} for each in told)
    shown = (await bert.http.post("/rerank", json=body | {"return_text": True, "raw_scores": True})).json()
    np.testing.assert_allclose(by_index(shown, "score"), logits(), atol=1e-3)
    assert [each["text"] for each in shown] == [DOCUMENTS[each["index"]] for each in shown]


async def test_a_request_without_a_model_is_for_the_reranker(bert: Served) -> None:
    told = await bert.http.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS})
    assert told.json()["model"] == "judge"


async def test_a_document_too_long_is_refused_unless_it_may_be_cut(bert: Served) -> None:
    response = await posted(bert, documents=["hello", LONG])
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "documents[1]"
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert "45 tokens with the query, and the model takes 32" in response.json()["message"]
    ways: list[tuple[str, dict[str, object]]] = [("/v1/rerank", {"truncate": True}), ("/v2/rerank", {})]
    ways.append(("/v1/rerank", {"truncate_prompt_tokens": -1}))
    for path, fields in ways:
        cut = (await posted(bert, path, documents=["hello", LONG], **fields)).json()
        assert cut["usage"]["prompt_tokens"] == 6 + 32, path
    assert (await posted(bert, "/v2/rerank", documents=[LONG], truncate=False)).status_code == 400


WRONG: list[tuple[dict[str, object], str]] = [
    ({"query": ""}, "query"),
    ({"query": None}, "query"),
    ({"documents": []}, "documents"),
    ({"documents": None}, "documents"),
    ({"documents": "hello"}, "documents"),
    ({"documents": ["hello", ""]}, "documents[1]"),
    ({"documents": ["hello", {"title": "x"}]}, "documents[1]"),
    ({"documents": [{"image": "x"}]}, "documents[0]"),
    ({"documents": ["a"] * (MOST_DOCUMENTS + 1)}, "documents"),
    ({"texts": ["hello"]}, "texts"),
    ({"top_n": 0}, "top_n"),
    ({"rank_fields": ["title"]}, "rank_fields"),
    ({"docs": ["hello"]}, "docs"),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
async def test_what_is_wrong_is_refused_by_name(bert: Served, fields: dict[str, object], param: str) -> None:
    response = await posted(bert, **fields)
    assert response.status_code == 400, response.text
    assert str(response.json()["error"]["param"]).startswith(param)


async def test_errors_are_told_as_each_dialect_has_them(bert: Served) -> None:
    document = (await bert.http.get("/schema/openapi.json")).json()
    bodies: dict[str, set[str]] = {
        "/v1/rerank": {"error", "message", "detail"},
        "/v2/rerank": {"message", "id"},
        "/rerank": {"error", "error_type"},
        "/v1/reranking": {"error"},
    }
    for path, names in bodies.items():
        response = await posted(bert, path, query="")
        assert set(response.json()) == names
        schema = document["paths"][path]["post"]["responses"]["400"]["content"]["application/json"]["schema"]
        jsonschema.validate(response.json(), {**schema, "components": document["components"]})
    tei = (await bert.http.post("/embed", json={"inputs": ["a"] * (MOST_INPUTS + 1)})).json()
    assert tei["error_type"] == "Validation"
    assert "inputs" in tei["error"]


@pytest.mark.parametrize("path", PATHS)
async def test_replies_are_as_documented(bert: Served, path: str) -> None:
    document = (await bert.http.get("/schema/openapi.json")).json()
    if path in document["paths"]:
        told = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        ways: list[dict[str, object]] = [{}, {"documents": None, "texts": DOCUMENTS}]
        for fields in ways:
            response = await posted(bert, path, **fields)
            jsonschema.validate(response.json(), {**told, "components": document["components"]})


async def test_who_is_asked_for_what_it_cannot_do_says_where_it_is_asked(bert: Served) -> None:
    chat = await bert.http.post("/v1/chat/completions", json=chat_body(model="judge"))
    assert chat.status_code == 404
    assert "/v1/rerank" in chat.json()["error"]["message"]
    vectors = await posted(bert, model="vectors")
    assert vectors.status_code == 404
    assert "/v1/embeddings" in vectors.json()["message"]


async def test_ten_thousand_documents_are_ranked_while_others_are_answered(bert: Served) -> None:
    """By length the longest stands first, so that all passes are of one shape."""
    many = [f"{word} {other} {third}" for word in WORDS[5:] for other in WORDS[5:] for third in WORDS[5:]]
    documents = [many[number % len(many)] for number in range(MOST_DOCUMENTS)]
    async with bert.http.stream("POST", "/v1/rerank", json=body_of(documents)) as large:
        small = await posted(bert, documents=["hello"], cache_prompt=False)
        assert small.status_code == 200
        assert large.status_code == 200
        results = (await large.aread()) and large.json()["results"]
    assert len(results) == MOST_DOCUMENTS


def body_of(documents: list[str]) -> dict[str, object]:
    return {"model": "judge", "query": QUERY, "documents": documents}


async def test_vectors_come_as_text_embeddings_inference_has_them(bert: Served) -> None:
    told = (await bert.http.post("/embed", json={"inputs": ["hello", "world"]})).json()
    plain = await bert.http.post("/v1/embeddings", json={"model": "vectors", "input": ["hello", "world"]})
    np.testing.assert_allclose(told, [each["embedding"] for each in plain.json()["data"]], atol=1e-6)
    one = (await bert.http.post("/embed", json={"inputs": "hello", "dimensions": 4})).json()
    assert (len(one), len(one[0])) == (1, 4)
    wrong = await bert.http.post("/embed", json={"inputs": ["hello", LONG]})
    assert wrong.status_code == 400
    assert "inputs[1]" in wrong.json()["error"]
    cut = await bert.http.post("/embed", json={"inputs": ["hello", LONG], "truncate": True})
    assert len(cut.json()) == 2


@pytest.mark.parametrize(
    ("headers", "fields", "cached"),
    [
        ({}, {}, True),
        ({"cache-control": "no-cache"}, {}, False),
        ({}, {"cache_prompt": False}, False),
        ({"cache-control": "no-store"}, {"cache_prompt": True}, True),
    ],
)
async def test_what_was_computed_before_is_taken_unless_that_is_refused(
    bert: Served, headers: dict[str, str], fields: dict[str, object], cached: bool
) -> None:
    body = body_of(["a cache of tokens"])
    await bert.http.post("/v1/rerank", json=body)
    response = await bert.http.post("/v1/rerank", json=body | fields, headers=headers)
    row = bert.workbench.requests.row(response.json()["id"])
    assert row is not None
    assert (row.cached_tokens > 0) == cached
