"""What is said without looking at a model: that the server runs, its version, and what it does not do."""

from __future__ import annotations

from typing import Final, NoReturn

from litestar import get, post, route
from litestar.enums import HttpMethod, MediaType
from litestar.handlers import HTTPRouteHandler

from api.http.contract import PLAIN, RouteReply, declare_contract, reply_with
from api.ollama.errors import OLLAMA_ERRORS
from api.ollama.replies import SpokenVersion
from core.errors import RequestError

SPOKEN: Final = "0.12.11"
"""The version of Ollama that first had all that is answered here, log-probabilities last; clients ask for it."""
RUNNING: Final = "Ollama is running"
"""What clients look for, word for word."""


def build_fixed_routes(*, build: str) -> list[HTTPRouteHandler]:
    """`build` names the program and its version."""

    @get(
        "/",
        media_type=MediaType.TEXT,
        summary="That the server runs, in the words of Ollama's clients",
        opt=declare_contract(RouteReply("One sentence", {PLAIN: None})),
        sync_to_thread=False,
    )
    def tell_running() -> str:
        return RUNNING

    @get(
        "/api/version",
        summary="Which Ollama this server speaks like",
        opt=declare_contract(reply_with(SpokenVersion, "The version"), errors=OLLAMA_ERRORS),
        sync_to_thread=False,
    )
    def tell_version() -> SpokenVersion:
        return SpokenVersion(SPOKEN, build)

    refusal = declare_contract(outcomes=(RequestError,), errors=OLLAMA_ERRORS)

    @post(
        "/api/create", status_code=200, summary="Refused: models are not made here", opt=refusal, sync_to_thread=False
    )
    def refuse_create() -> None:
        refuse_making("/api/create", "name its file as [models.NAME] in the config file, with what is wanted of it")

    @post(
        "/api/copy", status_code=200, summary="Refused: models are not copied here", opt=refusal, sync_to_thread=False
    )
    def refuse_copy() -> None:
        refuse_making("/api/copy", "give it a second name as [models.NAME] with `source` in the config file")

    @post("/api/push", status_code=200, summary="Refused: nothing is uploaded", opt=refusal, sync_to_thread=False)
    def refuse_push() -> None:
        refuse_making("/api/push", "upload models with the Hub's own tool")

    @route(
        "/api/blobs/{digest:str}",
        http_method=[HttpMethod.GET, HttpMethod.POST],
        status_code=200,
        summary="Refused: files are not uploaded here",
        opt=refusal,
        sync_to_thread=False,
    )
    def refuse_blob() -> None:
        refuse_making("/api/blobs", "put the file into a folder of library.folders, or pull it from the Hub")

    return [tell_running, tell_version, refuse_create, refuse_copy, refuse_push, refuse_blob]


def refuse_making(path: str, instead: str) -> NoReturn:
    """Raises RequestError."""
    raise RequestError(f"This server has no {path}, and makes, copies and uploads no models; {instead}.")
