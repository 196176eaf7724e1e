"""The OpenAPI document says what the server does: it is made of what the routes have declared."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import pytest_asyncio
from litestar.routes import HTTPRoute

from api.app import create_app
from api.http.contract import KEY
from api.llama_cpp.errors import PATHS as NATIVE
from core.settings.schema import ServerSettings, Settings
from core.workbench import Workbench
from tests.api.conftest import Served, chat_body, folders_in, serving, user

pytestmark = pytest.mark.asyncio(loop_scope="session")

Document = dict[str, Any]


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def document(echo: Served) -> Document:
    told: Document = (await echo.http.get("/schema/openapi.json")).json()
    return told


def schema_of(document: Document, method: str, path: str, status: int) -> Document:
    content = document["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["schema"]
    return {**content, "components": document["components"]}


async def test_every_route_stands_in_the_document_under_one_path(
    document: Document, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings()
    app = create_app(Workbench(settings, folders_in(tmp_path_factory.mktemp("app"))), settings)
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    there = {
        (route.path_format, str(method).lower())
        for route in routes
        for handler in route.route_handlers
        if KEY in handler.opt
        if route.path.startswith("/v1/") or not any(path.startswith("/v1/") for path in handler.paths)
        for method in handler.http_methods
        if method != "OPTIONS"
    }
    told = {(path, method) for path, methods in document["paths"].items() for method in methods}
    # Second names of one route are left out.
    assert there - told == {("/completions", "post"), ("/healthz", "get")}
    assert not told - there


async def test_every_post_with_a_body_tells_it(document: Document) -> None:
    bodies = {path for path, methods in document["paths"].items() if "requestBody" in methods.get("post", {})}
    assert bodies == {
        "/api/chat",
        "/api/embed",
        "/api/embeddings",
        "/api/generate",
        "/api/pull",
        "/api/show",
        "/apply-template",
        "/completion",
        "/detokenize",
        "/embed",
        "/infill",
        "/rerank",
        "/tokenize",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/chat/completions",
        "/v1/chat/completions/control",
        "/v1/chat/completions/input_tokens",
        "/v1/completions",
        "/v1/downloads",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/models/load",
        "/v1/models/pin",
        "/v1/models/unload",
        "/v1/rerank",
        "/v1/reranking",
        "/v1/responses",
        "/v1/responses/compact",
        "/v1/responses/input_tokens",
        "/v2/rerank",
    }


OWN_ERRORS = {
    "/v1/rerank": "RerankErrorBody",
    "/v2/rerank": "CohereErrorBody",
    "/rerank": "TeiErrorBody",
    "/embed": "TeiErrorBody",
}


async def test_all_errors_have_the_error_body(document: Document) -> None:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status in operation["responses"]:
                if int(status) >= 400 and not (path.endswith("/health") and status == "503"):
                    schema = schema_of(document, method, path, int(status))
                    told = {each["$ref"].rpartition("/")[2] for each in schema.get("anyOf", [schema])}
                    dialects = {"/v1/messages": "MessagesErrorBody", "/api/": "OllamaError"}
                    other = next((name for at, name in dialects.items() if path.startswith(at)), "ErrorBody")
                    own = OWN_ERRORS.get(path, "NativeErrorBody" if path in NATIVE else other)
                    # Of bytes that are no request, no dialect is known.
                    assert told <= {own, "ErrorBody"}, (path, status)
                    assert own in told or int(status) in (408, 414, 431, 503), (path, status)


ASKED: list[tuple[str, str, dict[str, Any]]] = [
    ("post", "/v1/chat/completions", {"json": chat_body()}),
    ("post", "/v1/chat/completions", {"json": chat_body(n=17)}),
    ("post", "/v1/chat/completions", {"json": chat_body(model="nothing")}),
    ("post", "/v1/chat/completions", {"json": chat_body(messages=user("x" * 9000))}),
    ("post", "/v1/chat/completions", {"content": b"x" * (17 << 20)}),
    ("post", "/v1/chat/completions/control", {"json": {"id": "none", "action": "reasoning_end"}}),
    ("post", "/v1/chat/completions/control", {"json": {"id": "none", "action": "sleep"}}),
    ("post", "/v1/completions", {"json": {"model": "echo", "prompt": ["a", [98]]}}),
    ("post", "/v1/completions", {"json": {"model": "echo", "prompt": []}}),
    ("post", "/v1/messages", {"json": chat_body(max_tokens=3)}),
    ("post", "/v1/messages", {"json": chat_body()}),
    ("post", "/v1/messages", {"json": chat_body(max_tokens=3, model="nothing")}),
    ("post", "/v1/messages", {"content": b"x" * (17 << 20)}),
    ("post", "/v1/messages/count_tokens", {"json": chat_body()}),
    ("get", "/v1/models", {"headers": {"anthropic-version": "2023-06-01"}}),
    ("post", "/completion", {"json": {"prompt": "ab", "n_predict": 4, "n_probs": 1}}),
    ("post", "/completion", {"json": {"prompt": ["ab", [99, 100]], "n_predict": 4}}),
    ("post", "/infill", {"json": {"input_prefix": "a", "input_suffix": "b"}}),
    ("post", "/tokenize", {"json": {"content": "ab", "with_pieces": True}}),
    ("post", "/detokenize", {"json": {"tokens": [97, 98]}}),
    ("post", "/apply-template", {"json": {"messages": user("hello")}}),
    ("get", "/props", {}),
    ("get", "/slots", {}),
    ("post", "/api/chat", {"json": chat_body(stream=False, logprobs=True, top_logprobs=1)}),
    ("post", "/api/chat", {"json": {"model": "echo"}}),
    ("post", "/api/chat", {"json": chat_body(model="nothing")}),
    ("post", "/api/generate", {"json": {"model": "echo", "prompt": "hello", "stream": False}}),
    ("post", "/api/generate", {"json": {"model": "echo", "prompt": "hello", "template": "x"}}),
    ("post", "/api/embed", {"json": {"model": "echo", "input": "hello"}}),
    ("post", "/api/embed", {"json": {"model": "echo"}}),
    ("post", "/api/embeddings", {"json": {"model": "echo"}}),
    ("post", "/api/show", {"json": {"model": "guide"}}),
    ("post", "/api/show", {"json": {"model": "nothing"}}),
    ("post", "/api/pull", {"json": {"model": "guide", "stream": False}}),
    ("post", "/api/create", {"json": {}}),
    ("get", "/api/tags", {}),
    ("get", "/api/ps", {}),
    ("get", "/api/version", {}),
    ("post", "/v1/embeddings", {"json": {"input": "x", "model": "echo"}}),
    ("post", "/v1/embeddings", {"json": {"input": "x"}}),
    ("post", "/v1/rerank", {"json": {"query": "x", "documents": ["y"], "model": "echo"}}),
    ("post", "/v2/rerank", {"json": {"query": "x", "documents": ["y"]}}),
    ("post", "/rerank", {"json": {"query": "x", "texts": ["y"]}}),
    ("post", "/v1/reranking", {"json": {"query": "x", "documents": []}}),
    ("post", "/embed", {"json": {"inputs": "x"}}),
    ("post", "/v1/responses", {"json": {"model": "echo", "input": "hello"}}),
    ("post", "/v1/responses", {"json": {"model": "echo", "input": "x" * 9000}}),
    ("post", "/v1/responses", {"json": {"input": [{"type": "input_image"}]}}),
    ("post", "/v1/responses/input_tokens", {"json": {"model": "echo", "input": "hello"}}),
    ("post", "/v1/models/load", {"json": {"model": "nothing"}}),
    ("post", "/v1/models/load", {"json": {}}),
    ("post", "/v1/models/pin", {"json": {"model": "echo", "pinned": False}}),
    ("get", "/v1/models", {}),
    ("get", "/v1/engines", {}),
    ("get", "/v1/queue/stats", {}),
    ("get", "/v1/cache/stats", {}),
    ("get", "/v1/requests", {}),
    ("get", "/v1/downloads", {}),
    ("get", "/v1/search", {"params": {"limit": 0}}),
    ("get", "/v1/search", {"params": {"limit": "many"}}),
    ("get", "/v1/fit", {}),
    ("get", "/health", {}),
    ("get", "/health", {"headers": {"host": "elsewhere.example"}}),
]


@pytest.mark.parametrize(("method", "path", "asked"), ASKED)
async def test_what_is_answered_is_what_is_documented(
    echo: Served, document: Document, method: str, path: str, asked: dict[str, Any]
) -> None:
    response = await echo.http.request(method, path, **asked)
    jsonschema.validate(response.json(), schema_of(document, method, path, response.status_code))


async def test_a_missing_key_is_answered_as_documented(
    document: Document, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = Settings(server=ServerSettings(port=0, api_keys=("k",)))
    async with serving(tmp_path_factory.mktemp("keyed"), settings) as served:
        response = await served.http.get("/v1/models")
    jsonschema.validate(response.json(), schema_of(document, "get", "/v1/models", response.status_code))
    assert "401" not in document["paths"]["/health"]["get"]["responses"]


async def test_options_and_refusals_tell_all_methods_of_a_path(echo: Served, document: Document) -> None:
    for path, methods in document["paths"].items():
        at = (
            path.replace("{model_id}", "x")
            .replace("{request_id}", "x")
            .replace("{download_id}", "x")
            .replace("{response_id}", "x")
        )
        for method in ("OPTIONS", "PATCH"):
            response = await echo.http.request(method, at)
            allowed = {each.lower() for each in response.headers["allow"].split(", ")} - {"options", "head"}
            assert allowed == set(methods), (path, method)


async def test_the_schema_of_a_message_takes_what_is_taken_and_no_more(document: Document) -> None:
    asked = {"$ref": "#/components/schemas/MessagesRequest", "components": document["components"]}
    taken: list[dict[str, object]] = [{}, {"speed": "fast"}, {"thinking": {"type": "adaptive"}}, {"container": None}]
    taken += [{"tools": [{"type": "bash_20250124", "name": "bash"}]}, {"tool_choice": {"type": "any"}}]
    for fields in taken:
        jsonschema.validate(chat_body(max_tokens=1, **fields), asked)
    wrong: list[dict[str, object]] = [{"max_tokens": None}, {"unheard_of": 1}, {"container": "c"}]
    wrong += [{"messages": user([{"type": "image"}])}, {"thinking": {"type": "enabled"}}, {"messages": []}]
    for refused in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(chat_body() | {"max_tokens": 1} | refused, asked)


async def test_the_schema_of_a_chat_takes_what_is_taken_and_no_more(document: Document) -> None:
    asked = {"$ref": "#/components/schemas/ChatRequest", "components": document["components"]}
    taken: list[dict[str, object]] = [
        {},
        {"mirostat": 0},
        {"user": [1]},
        {"unheard_of": None},
        {"stop": []},
        {"logit_bias": []},
    ]
    for fields in taken:
        jsonschema.validate(chat_body(**fields), asked)
    wrong: list[dict[str, object]] = [{"mirostat": 1}, {"unheard_of": 1}, {"max_tokens": 0}, {"top_logprobs": 1}]
    wrong += [{"functions": [{}]}, {"messages": user([{"type": "image_url"}])}]
    for refused in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(chat_body(**refused), asked)
