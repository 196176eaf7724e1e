"""Requests and streams of Ollama's API, as its clients see them."""

from __future__ import annotations

import json
from typing import Any

from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, ProbeSettings, ServerSettings, Settings
from tests.api.conftest import Served, user

SECOND = 1_000_000_000
WEATHER: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'


QUICK = Settings(
    server=ServerSettings(port=0),
    model=ModelSettings(engine="llamacpp", ctx_size=1024, slots=1, threads=1, extra_buffers=False),
    bench=BenchSettings(enabled=False),
    probe=ProbeSettings(enabled=False),
)
"""Of real models that are loaded without being tried out first."""


async def post(served: Served, path: str, status: int = 200, **fields: Any) -> Any:
    """The one document that is answered."""
    response = await served.http.post(path, json={"stream": False} | fields)
    assert response.status_code == status, response.text
    return response.json()


async def chat(served: Served, **fields: Any) -> Any:
    return await post(served, "/api/chat", **{"model": "echo", "messages": user("hello"), **fields})


async def generate(served: Served, **fields: Any) -> Any:
    return await post(served, "/api/generate", **{"model": "echo", "prompt": "hello", **fields})


async def refused(served: Served, path: str, status: int = 400, **fields: Any) -> str:
    body = await post(served, path, status, **fields)
    assert body.keys() == {"error"}
    return str(body["error"])


async def stream_lines(served: Served, path: str, **fields: Any) -> list[dict[str, Any]]:
    """The lines of a stream; each is a document."""
    response = await served.http.post(path, json=fields)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


async def running(served: Served) -> dict[str, Any]:
    """The models that are in memory, by name."""
    return {each["name"]: each for each in (await served.http.get("/api/ps")).json()["models"]}
