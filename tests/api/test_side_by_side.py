"""One server, three kinds of models: chat, embeddings and speech, each loaded by the first request that names it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from core.settings.profile import Profile
from core.settings.schema import BenchSettings, RouteSettings, ServerSettings, Settings
from tests.api.conftest import Served, chat_body, serving, user
from tests.fakes.bert import WIDTH, write_embedder
from tests.fakes.speech import encoded, tone, write_whisper

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def shelf(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("models")
    models = {
        "talks": Profile(source="guide", engine="llamacpp", ctx_size=512, slots=2),
        "embeds": Profile(source=str(write_embedder(folder / "tiny"))),
        "hears": Profile(source=str(write_whisper(folder / "ggml-tiny.bin"))),
    }
    settings = Settings(
        server=ServerSettings(port=0), models=models, bench=BenchSettings(enabled=False), route=RouteSettings(auto=True)
    )
    async with serving(tmp_path_factory.mktemp("served"), settings, model=None) as served:
        await served.workbench.models.serve(tuple(models))
        yield served


async def states(served: Served) -> dict[str, str]:
    """Of the models of the settings; the built-in ones are listed too, as a request would load them."""
    listed = (await served.http.get("/v1/models")).json()["data"]
    return {model["id"]: model["state"] for model in listed if model["id"] in served.workbench.settings.models}


async def test_each_kind_of_model_is_loaded_on_demand_and_all_answer_at_once(shelf: Served) -> None:
    assert await states(shelf) == {"talks": "unloaded", "embeds": "unloaded", "hears": "unloaded"}
    said, vectors, heard = await asyncio.gather(
        shelf.complete(model="talks", max_tokens=8),
        shelf.client.embeddings.create(model="embeds", input=["hello world"]),
        shelf.client.audio.transcriptions.create(model="hears", file=("a.wav", encoded(tone()))),
    )
    assert said.choices[0].message.content
    assert len(vectors.data[0].embedding) == WIDTH
    assert heard.text == "hello world ü world"
    assert await states(shelf) == {"talks": "ready", "embeds": "ready", "hears": "ready"}


async def test_a_model_of_another_kind_says_what_it_is_for(shelf: Served) -> None:
    answer = await shelf.chat(**chat_body(model="embeds"))
    assert answer.status_code == 404
    assert "embed" in answer.json()["error"]["message"]


async def test_only_models_that_write_answer_for_auto(shelf: Served) -> None:
    for text in ("Hi", "Prove step by step that 3 + 4 = 7, then design a plan:\n```python\nimport os\n```"):
        answer = await shelf.chat(model="auto", messages=user(text), max_tokens=4)
        assert answer.status_code == 200
        assert answer.headers["x-benchtop-model"] == "talks"


async def test_auto_goes_by_the_longest_prompt_of_llama_cpps_requests_too(shelf: Served) -> None:
    long = "a" * 3000
    asked: list[tuple[str, dict[str, object], str]] = [
        ("/completion", {"prompt": ["Hi", long]}, "prompt"),
        ("/infill", {"input_prefix": long, "input_suffix": ""}, "input_prefix"),
    ]
    for path, fields, named in asked:
        answer = await shelf.http.post(path, json={"model": "auto", "n_predict": 4} | fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, named)
        assert "the largest context there is holds 512" in answer.json()["error"]["message"]
    answer = await shelf.http.post("/completion", json={"model": "auto", "n_predict": 4, "prompt": ["Hi", "Ho"]})
    assert (answer.status_code, answer.headers["x-benchtop-model"]) == (200, "talks")


async def test_a_template_is_that_of_the_model_that_would_answer(shelf: Served) -> None:
    answer = await shelf.http.post("/apply-template", json={"model": "auto", "messages": user("Hi")})
    assert (answer.status_code, answer.headers["x-benchtop-model"]) == (200, "talks")
    assert "Hi" in answer.json()["prompt"]


async def test_a_name_too_long_for_a_path_is_an_unknown_model(shelf: Served) -> None:
    answer = await shelf.chat(**chat_body(model="a" * 300))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_who_names_a_model_by_a_part_of_its_name_is_told_the_whole(shelf: Served) -> None:
    answer = await shelf.chat(**chat_body(model="embed"))
    assert answer.json()["error"]["message"] == "There is no model 'embed' on this machine; did you mean embeds?"


async def test_a_model_that_would_have_to_be_downloaded_is_not_and_says_so(shelf: Served) -> None:
    answer = await shelf.chat(**chat_body(model="nobody/nothing-GGUF"))
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert "nobody/nothing-GGUF is not on this machine" in error["message"]
    assert "talks, embeds, hears" in error["message"]
