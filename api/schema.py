"""The OpenAPI document: Litestar's, with the bodies that it does not decode itself."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from api.native.downloads import DownloadRequest, DownloadRow
from api.openai.embeddings import EmbeddingList, EmbeddingRequest
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
        return msgspec.json.encode(with_bodies(openapi_schema))


def with_bodies(document: dict[str, Any]) -> dict[str, Any]:
    """`document` with the bodies that routes decode themselves; the argument is left as it was."""
    kinds = (ChatRequest, ChatCompletion, ChatChunk, EmbeddingRequest, EmbeddingList, DownloadRequest, DownloadRow)
    references, schemas = msgspec.json.schema_components(kinds, ref_template=COMPONENTS)
    asked, whole, chunk, texts, vectors, model, row = references
    streamed = {"application/json": {"schema": whole}, "text/event-stream": {"schema": chunk}}
    bodies = {
        "/v1/chat/completions": (asked, "One JSON document, or events where `stream` is true", streamed, "200"),
        "/v1/embeddings": (texts, "A vector for each input", {"application/json": {"schema": vectors}}, "200"),
        "/v1/downloads": (model, "The download, queued", {"application/json": {"schema": row}}, "202"),
    }
    paths = {at: _with_body(document["paths"][at], *body) for at, body in bodies.items()}
    components = document.get("components", {})
    return document | {
        "paths": document["paths"] | paths,
        "components": components | {"schemas": components.get("schemas", {}) | schemas},
    }


def _with_body(path: dict[str, Any], asked: object, words: str, content: dict[str, Any], status: str) -> dict[str, Any]:
    post = path["post"] | {
        "requestBody": {"required": True, "content": {"application/json": {"schema": asked}}},
        "responses": path["post"]["responses"] | {status: {"description": words, "content": content}},
    }
    return path | {"post": post}
