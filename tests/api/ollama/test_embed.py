"""POST /api/embed and /api/embeddings on a small BERT of random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.api.conftest import Served
from tests.api.ollama.conftest import post, refused
from tests.api.openai.test_embeddings import TEXTS, bert, expected

__all__ = ["bert"]

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_texts_get_vectors_of_length_one_in_order(bert: Served) -> None:
    reply = await post(bert, "/api/embed", model="tiny:latest", input=TEXTS)
    assert reply.keys() == {"model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"}
    assert (reply["model"], reply["prompt_eval_count"]) == ("tiny:latest", 4 + 7 + 3)
    for vector, text in zip(reply["embeddings"], TEXTS, strict=True):
        np.testing.assert_allclose(vector, expected(text), rtol=1e-3, atol=1e-4)
    one = await post(bert, "/api/embed", model="tiny", input=TEXTS[0], dimensions=4)
    (vector,) = one["embeddings"]
    assert len(vector) == 4
    assert np.linalg.norm(vector) == pytest.approx(1.0)


async def test_the_older_form_gives_one_vector(bert: Served) -> None:
    reply = await post(bert, "/api/embeddings", model="tiny", prompt=TEXTS[0])
    assert reply.keys() == {"embedding"}
    np.testing.assert_allclose(reply["embedding"], expected(TEXTS[0]), rtol=1e-3, atol=1e-4)


async def test_too_long_a_text_is_cut_unless_that_is_not_wanted(bert: Served) -> None:
    long = "hello " * 40
    assert len((await post(bert, "/api/embed", model="tiny", input=long))["embeddings"]) == 1
    assert "index 0 of `input`" in await refused(bert, "/api/embed", model="tiny", input=long, truncate=False)


async def test_without_a_text_the_model_is_loaded(bert: Served) -> None:
    assert (await post(bert, "/api/embed", model="tiny", input=""))["embeddings"] == []
    assert await post(bert, "/api/embeddings", model="tiny", keep_alive="5m") == {"embedding": []}


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"input": 5}, "input"), ({"input": [5]}, "input"), ({"input": "a", "dimensions": 10**6}, "dimensions")],
)
async def test_a_wrong_field_is_named(bert: Served, fields: dict[str, Any], said: str) -> None:
    assert said in await refused(bert, "/api/embed", model="tiny", **fields)


async def test_an_embedder_says_that_it_is_one(bert: Served) -> None:
    assert (await post(bert, "/api/show", model="tiny"))["capabilities"] == ["embedding"]
    assert "tiny" in await refused(bert, "/api/chat", model="tiny", messages=[{"role": "user", "content": "x"}])
