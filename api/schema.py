"""The OpenAPI document: Litestar's, with the bodies that it does not decode itself."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from api.openai.wire import ChatChunk, ChatCompletion, ChatRequest

COMPONENTS = "#/components/schemas/{name}"


def openapi(version: str) -> OpenAPIConfig:
    """At /schema and /schema/openapi.json, as plain JSON: nothing that fetches scripts from elsewhere."""
    return OpenAPIConfig(
        title="benchtop",
        version=version,
        path="/schema",
        render_plugins=[_Renderer(path=["/openapi.json", "/"])],
    )


class _Renderer(JsonRenderPlugin):
    def render(self, _: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return msgspec.json.encode(with_chat(openapi_schema))


def with_chat(document: dict[str, Any]) -> dict[str, Any]:
    """`document` with the bodies of /v1/chat/completions; the argument is left as it was."""
    kinds = (ChatRequest, ChatCompletion, ChatChunk)
    references, schemas = msgspec.json.schema_components(kinds, ref_template=COMPONENTS)
    asked, whole, chunk = references
    path = document["paths"]["/v1/chat/completions"]
    answers = {
        "200": {
            "description": "One JSON document, or events where `stream` is true",
            "content": {"application/json": {"schema": whole}, "text/event-stream": {"schema": chunk}},
        }
    }
    post = path["post"] | {
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": path["post"]["responses"] | answers,
    }
    components = document.get("components", {})
    return document | {
        "paths": document["paths"] | {"/v1/chat/completions": path | {"post": post}},
        "components": components | {"schemas": components.get("schemas", {}) | schemas},
    }
