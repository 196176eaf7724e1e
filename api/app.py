"""The application: wiring only."""

from __future__ import annotations

from itertools import chain

from litestar import Litestar

from api.http.answer import PING_SECONDS
from api.http.errors import answer_error
from api.http.guards import Guard
from api.http.live import LiveStreams
from api.http.methods import options_routes
from api.native.cache import cache_route
from api.native.downloads import download_routes
from api.native.engines import engines_route
from api.native.health import health_route
from api.native.models import pool_routes
from api.native.queue import queue_route
from api.native.requests import request_routes
from api.native.search import finding_routes
from api.openai.audio import MAX_FORM, PATHS, audio_routes
from api.openai.chat import chat_route
from api.openai.embeddings import embeddings_route
from api.openai.models import model_routes
from api.schema import configure_openapi
from api.version import read_version
from core.settings.schema import Settings
from core.workbench import Workbench


def create_app(
    workbench: Workbench,
    settings: Settings,
    *,
    live: LiveStreams | None = None,
    ping: float = PING_SECONDS,
) -> Litestar:
    """The whole HTTP side of `workbench`. `live` is told of the streams that are being answered; `ping`: seconds."""
    live = LiveStreams() if live is None else live
    fingerprint = f"benchtop-{read_version()}"
    handlers = [
        chat_route(workbench, live, max_body=settings.server.max_body, fingerprint=fingerprint, ping=ping),
        *audio_routes(workbench, live, max_body=settings.server.max_body, ping=ping),
        embeddings_route(workbench, live, max_body=settings.server.max_body),
        *model_routes(workbench),
        *pool_routes(workbench),
        engines_route(workbench),
        queue_route(workbench),
        cache_route(workbench),
        *request_routes(workbench),
        *finding_routes(workbench),
        *download_routes(workbench),
        health_route(workbench),
    ]
    app = Litestar(
        route_handlers=[*options_routes(handlers), *handlers],
        exception_handlers={Exception: answer_error},
        openapi_config=configure_openapi(read_version()),
        logging_config=None,
    )
    # Litestar's own middleware does not see requests that match no route, and those need an id and a key as well.
    audio = max(MAX_FORM, settings.server.max_body)
    app.asgi_handler = Guard(app.asgi_handler, settings.server, dict.fromkeys(chain(*PATHS.values()), audio))
    return app
