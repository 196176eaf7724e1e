"""What clients get wrong, and what is not done here: one sentence, under `error`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import Served, user
from tests.api.http.test_bad_input import BROKEN_BODIES
from tests.api.ollama.conftest import chat, refused

pytestmark = pytest.mark.asyncio(loop_scope="session")

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"options": {"temperature": -1}}, "options.temperature"),
    ({"options": {"temperature": "hot"}}, "options.temperature"),
    ({"options": {"num_predict": 1.5}}, "options.num_predict"),
    ({"options": {"top_p": 2}}, "options.top_p"),
    ({"options": {"stop": [5]}}, "options.stop"),
    ({"options": {"seed": 10**30}}, "options.seed"),
    ({"options": {"mirostat": 2}}, "options.mirostat"),
    ({"options": {"tfs_z": 0.5}}, "options.tfs_z"),
    ({"options": {"temprature": 1}}, "options.temprature"),
    ({"options": 5}, "options"),
    ({"think": "very"}, "think"),
    ({"think": 5}, "think"),
    ({"keep_alive": "soon"}, "keep_alive"),
    ({"keep_alive": [5]}, "keep_alive"),
    ({"stream": "yes"}, "stream"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"format": "yaml"}, "format"),
    ({"format": 5}, "format"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "messages[0].images"),
    ({"messages": [{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}]}, "tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": 5}}]}]}, "arguments"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tools": 5}, "tools"),
    ({"messages": [{"role": "user", "content": "x"}], "sysem": "y"}, "sysem"),
    ({"_debug_render_only": True}, "_debug_render_only"),
]


@pytest.mark.parametrize(("fields", "named"), WRONG, ids=[f"{named}-{at}" for at, (_, named) in enumerate(WRONG)])
async def test_a_wrong_field_is_named(echo: Served, fields: dict[str, Any], named: str) -> None:
    body: dict[str, Any] = {"model": "echo", "messages": user("hello")} | fields
    assert named in await refused(echo, "/api/chat", **body)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show", "/api/pull"])
@pytest.mark.parametrize("name", [name for name in BROKEN_BODIES if name != "a byte order mark"])
async def test_a_broken_body_is_a_bad_request(echo: Served, path: str, name: str) -> None:
    response = await echo.http.post(path, content=BROKEN_BODIES[name])
    assert response.status_code in (400, 413), response.text
    assert response.json().keys() == {"error"}


async def test_a_model_that_does_something_else_is_a_bad_request(echo: Served) -> None:
    assert "embeddings" in await refused(echo, "/api/embed", model="echo", input="hello")


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("POST", "/api/create", 400, "models.NAME"),
        ("POST", "/api/copy", 400, "source"),
        ("POST", "/api/push", 400, "upload"),
        ("POST", "/api/blobs/sha256:0", 400, "library.folders"),
        ("GET", "/api/nothing", 404, "nothing at this path"),
        ("GET", "/api/chat", 405, "method"),
    ],
)
async def test_what_is_not_done_here_says_what_to_do(
    echo: Served, method: str, path: str, status: int, said: str
) -> None:
    response = await echo.http.request(method, path, content=b"{}" if method == "POST" else None)
    assert response.status_code == status
    assert said in response.json()["error"]
    assert response.headers["x-request-id"]


async def test_the_server_runs_and_has_a_version(echo: Served) -> None:
    response = await echo.http.get("/")
    assert (response.text, response.headers["content-type"]) == ("Ollama is running", "text/plain; charset=utf-8")
    assert (await echo.http.head("/")).status_code == 200
    told = (await echo.http.get("/api/version")).json()
    assert [int(part) for part in told["version"].split(".")] >= [0, 12]
    assert told["server"].startswith("benchtop-")
    assert (await echo.http.head("/api/tags")).status_code == 200


async def test_after_all_that_the_server_still_answers(echo: Served) -> None:
    assert (await chat(echo))["message"]["content"] == "hello"
