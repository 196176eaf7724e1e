"""POST /v1/models/load, /v1/models/unload and /v1/models/pin: which models are in memory."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar, cast, get_type_hints

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from msgspec import Meta, defstruct

from api.http.contract import LOADING, READING, declare_contract, reply_with
from api.http.field_rules import Rules, leave_to_operator, tell_ignored
from api.http.replies import Headers, add_headers
from api.http.settle import JsonBody, Wire
from api.openai import fields
from api.openai.models import build_cards, find_card
from api.openai.wire import ModelCard
from core.contract.declared import Declared, list_fields
from core.contract.options import LoadSettings
from core.errors import ModelNotFound
from core.settings.model import ModelSettings
from core.workbench import Workbench

MOST_BODY_BYTES = 16 * 1024
"""Bytes; a name is all there is in one."""


class ModelRequest(Wire, frozen=True):
    """The body of `unload`, and what the others begin with."""

    rules = fields.MODEL

    model: Annotated[str, Meta(min_length=1, max_length=1024)]


class PinRequest(ModelRequest, frozen=True):
    """The body of `pin`, and what that of `load` begins with."""

    pinned: bool | None = None
    """Pin it, or no longer."""


OPTIONS: Final = tuple(
    each.name for each in list_fields(LoadSettings) if not (each.local or each.secret or each.operator)
)
"""The load options that a client may give: those that name no file of this machine and are no key, and do not make the
server ask others."""


def _tell_why(option: Declared) -> str:
    if option.local:
        return "it names files of the server's machine"
    return "it is a key of the server" if option.secret else "the server's user chooses it"


KEPT_BACK: Final[Rules] = {
    each.name: leave_to_operator(_tell_why(each)) for each in list_fields(ModelSettings) if each.name not in OPTIONS
}
LoadRequest: Final = defstruct(
    "LoadRequest",
    [(name, get_type_hints(LoadSettings, include_extras=True)[name], None) for name in OPTIONS],
    bases=(PinRequest,),
    namespace={"rules": {**fields.MODEL, **KEPT_BACK}},
    frozen=True,
    kw_only=True,
)
UNLOAD_BODY: Final = JsonBody(ModelRequest)
PIN_BODY: Final = JsonBody(PinRequest)
LOAD_BODY: Final = JsonBody(cast(type[PinRequest], LoadRequest))


AnyRequest = TypeVar("AnyRequest", bound=ModelRequest)


def pool_routes(workbench: Workbench) -> list[HTTPRouteHandler]:
    def card(name: str) -> ModelCard:
        return find_card(build_cards(workbench.snapshot(), workbench.models.paths), name)

    async def read(request: Request[object, object, State], form: JsonBody[AnyRequest]) -> tuple[AnyRequest, Headers]:
        asked = await form.read(request.receive, MOST_BODY_BYTES)
        return asked.body, tell_ignored(asked.ignored)

    @post(
        ["/v1/models/load", "/models/load"],
        status_code=200,
        summary="Load a model as a request for it would, or anew with other options",
        opt=declare_contract(
            reply_with(ModelCard, "The model, loaded"), body=LOAD_BODY, outcomes=(*READING, *LOADING), admin=True
        ),
    )
    async def load_model(request: Request[object, object, State]) -> Response[ModelCard]:
        body, headers = await read(request, LOAD_BODY)
        name = await workbench.models.prepare(
            body.model, LoadSettings(**{name: getattr(body, name) for name in OPTIONS})
        )
        if body.pinned is not None:
            workbench.models.pin(name, body.pinned)
        return add_headers(card(name), headers)

    @post(
        ["/v1/models/unload", "/models/unload"],
        status_code=200,
        summary="Free a model; its requests fail",
        opt=declare_contract(
            reply_with(ModelRequest, "The name of the model"),
            body=UNLOAD_BODY,
            outcomes=(*READING, ModelNotFound),
            admin=True,
        ),
    )
    async def unload_model(request: Request[object, object, State]) -> Response[ModelRequest]:
        body, headers = await read(request, UNLOAD_BODY)
        await workbench.models.unload(body.model)
        return add_headers(ModelRequest(model=body.model), headers)

    @post(
        ["/v1/models/pin", "/models/pin"],
        status_code=200,
        summary="Keep a model loaded, or no longer",
        opt=declare_contract(
            reply_with(ModelCard, "The model"), body=PIN_BODY, outcomes=(*READING, ModelNotFound), admin=True
        ),
    )
    async def pin_model(request: Request[object, object, State]) -> Response[ModelCard]:
        body, headers = await read(request, PIN_BODY)
        workbench.models.pin(body.model, body.pinned is not False)
        return add_headers(card(body.model), headers)

    return [load_model, unload_model, pin_model]
