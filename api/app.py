"""The application: wiring only."""

from __future__ import annotations

from itertools import chain

from litestar import Litestar

from api.anthropic.messages import build_messages_routes
from api.error_dialects import choose_errors
from api.http.answer import PING_SECONDS
from api.http.capturing import Capturing
from api.http.contract import require_rights
from api.http.errors import answer_error
from api.http.gatekeeper import Gatekeeper
from api.http.guards import OPEN_PATHS, Guard
from api.http.live import LiveStreams
from api.http.methods import build_options_routes
from api.llama_cpp.completion import build_native_routes
from api.llama_cpp.state import build_state_routes
from api.llama_cpp.tokens import build_token_routes
from api.model_routes import build_model_routes
from api.native.cache import build_cache_route
from api.native.downloads import build_download_routes
from api.native.engines import build_engines_route
from api.native.health import build_health_routes
from api.native.logs import build_logs_route
from api.native.metrics import PATH as METRICS
from api.native.metrics import build_metrics_route
from api.native.models import pool_routes
from api.native.queue import build_queue_route
from api.native.requests import build_request_routes
from api.native.search import build_search_routes
from api.native.usage import build_usage_route
from api.ollama.answering import build_answer_routes
from api.ollama.embedding import build_vector_routes
from api.ollama.fixed import build_fixed_routes
from api.ollama.models import build_listing_routes
from api.ollama.pulling import build_pull_route
from api.openai.audio import MAX_FORM, PATHS, build_audio_routes
from api.openai.chat import build_chat_routes
from api.openai.completions import build_completion_route
from api.openai.embeddings import build_embeddings_route
from api.openai.responses.routes import PATHS as RESPONSES
from api.openai.responses.routes import build_response_routes
from api.openai.responses.service import ResponseService
from api.openai.responses.socket import ResponseSockets
from api.reranking.rerank import build_rerank_routes
from api.reranking.tei import build_embed_route
from api.schema import configure_openapi
from core.settings.keys import list_keys
from core.settings.schema import Settings
from core.version import read_version
from core.workbench import Workbench


def create_app(
    workbench: Workbench,
    settings: Settings,
    *,
    live: LiveStreams | None = None,
    ping: float = PING_SECONDS,
    gate: Gatekeeper | None = None,
) -> Litestar:
    """The whole HTTP side of `workbench`. `live` is told of the streams that are being answered; `ping`: seconds;
    `gate`: who comes in, by the settings where none is given. Raises ConfigError for a file of keys that is wrong."""
    live = LiveStreams() if live is None else live
    fingerprint = f"benchtop-{read_version()}"
    responses = ResponseService(workbench, live)
    handlers = [
        *build_chat_routes(workbench, live, max_body=settings.server.max_body, fingerprint=fingerprint, ping=ping),
        build_completion_route(workbench, live, max_body=settings.server.max_body, fingerprint=fingerprint, ping=ping),
        *build_messages_routes(workbench, live, max_body=settings.server.max_body, ping=ping),
        *build_native_routes(workbench, live, max_body=settings.server.max_body, ping=ping),
        *build_token_routes(workbench, max_body=settings.server.max_body),
        *build_state_routes(workbench, build=fingerprint),
        *build_answer_routes(workbench, live, max_body=settings.server.max_body, ping=ping),
        *build_vector_routes(workbench, live, max_body=settings.server.max_body),
        *build_listing_routes(workbench),
        build_pull_route(workbench),
        *build_fixed_routes(build=fingerprint),
        *build_response_routes(responses, live, max_body=settings.server.max_body, ping=ping),
        *build_audio_routes(workbench, live, max_body=settings.server.max_body, ping=ping),
        build_embeddings_route(workbench, live, max_body=settings.server.max_body),
        *build_rerank_routes(workbench, live, max_body=settings.server.max_body),
        build_embed_route(workbench, live, max_body=settings.server.max_body),
        *build_model_routes(workbench),
        *pool_routes(workbench),
        build_engines_route(workbench),
        build_queue_route(workbench),
        build_cache_route(workbench),
        build_usage_route(workbench),
        *build_request_routes(workbench),
        build_logs_route(workbench, live, ping=ping),
        *build_search_routes(workbench),
        *build_download_routes(workbench),
        *build_health_routes(workbench),
    ]
    telemetry = settings.telemetry
    if telemetry.metrics:
        handlers.append(build_metrics_route(workbench, read_version(), needs_key=not telemetry.open_metrics))
    app = Litestar(
        route_handlers=[*build_options_routes(handlers), *handlers],
        exception_handlers={Exception: answer_error},
        guards=[require_rights],
        openapi_config=configure_openapi(read_version()),
        logging_config=None,
    )
    # Litestar's own middleware does not see requests that match no route, and those need an id and a key as well.
    audio = max(MAX_FORM, settings.server.max_body)
    captures = workbench.captures
    app.asgi_handler = Guard(
        Capturing(app.asgi_handler, captures) if captures.is_on else app.asgi_handler,
        settings.server,
        dict.fromkeys(chain(*PATHS.values()), audio),
        choose_errors,
        dict.fromkeys(RESPONSES, ResponseSockets(responses, live, captures if captures.is_on else None)),
        gate=Gatekeeper(list_keys(settings.server), settings.limits) if gate is None else gate,
        open_paths=OPEN_PATHS | {METRICS} if telemetry.open_metrics else OPEN_PATHS,
        note=workbench.meter.note_response,
    )
    return app
