"""POST /v1/models/load, /v1/models/unload and /v1/models/pin: which models are in memory."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, Struct

from api.bodies import decode_body, read_body
from api.openai.models import cards, find
from api.openai.wire import ModelCard
from core.workbench import Workbench

MAX_BODY = 16 * 1024
"""Bytes; a name is all there is in one."""


class ModelRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of the three."""

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    pinned: bool | None = None
    """Pin it, or no longer; of `load` and `pin` alone."""


DECODER = msgspec.json.Decoder(ModelRequest)


def pool_routes(workbench: Workbench) -> list[HTTPRouteHandler]:
    def card(name: str) -> ModelCard:
        return find(cards(workbench.snapshot(), workbench.places), name)

    @post("/v1/models/load", status_code=200, summary="Load a model, as a request for it would")
    async def load_model(request: Request[object, object, State]) -> ModelCard:
        body = decode_body(await read_body(request.receive, MAX_BODY), DECODER)
        name = await workbench.prepare(body.model)
        if body.pinned is not None:
            workbench.pin(name, body.pinned)
        return card(name)

    @post("/v1/models/unload", status_code=200, summary="Free a model; its requests fail")
    async def unload_model(request: Request[object, object, State]) -> ModelRequest:
        body = decode_body(await read_body(request.receive, MAX_BODY), DECODER)
        await workbench.unload(body.model)
        return ModelRequest(body.model)

    @post("/v1/models/pin", status_code=200, summary="Keep a model loaded, or no longer")
    async def pin_model(request: Request[object, object, State]) -> ModelCard:
        body = decode_body(await read_body(request.receive, MAX_BODY), DECODER)
        workbench.pin(body.model, body.pinned is not False)
        return card(body.model)

    return [load_model, unload_model, pin_model]
