"""GET /v1/models and /v1/models/{id}: what is loaded, being loaded, or loaded by a request, in the client's dialect."""

from __future__ import annotations

from litestar import Request, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.anthropic.errors import VERSION
from api.anthropic.models import ModelInfo, ModelPage, cut_page, describe_model
from api.http.callers import find_caller
from api.http.contract import declare_contract, reply_with
from api.openai.models import build_all_cards, build_cards, find_card, is_among
from api.openai.wire import ModelCard, ModelList
from core.errors import ModelNotFound, RequestError
from core.workbench import Workbench

Connection = Request[object, object, State]


def build_model_routes(workbench: Workbench) -> list[HTTPRouteHandler]:
    @get(
        ["/v1/models", "/models"],
        summary="The models that are served",
        opt=declare_contract(
            reply_with(ModelList, "Those that are loaded first"),
            reply_with(ModelPage, "With the header `anthropic-version`, in Anthropic's form"),
            outcomes=(RequestError,),
        ),
    )
    async def list_models(request: Connection) -> ModelList | ModelPage:
        caller = find_caller(request.scope["state"])
        cards = [card for card in await build_all_cards(workbench) if caller.may_use(card.id)]
        if not _is_anthropic(request):
            return ModelList(data=cards)
        return cut_page([_describe_card(card) for card in cards], request.query_params)

    # A name may contain slashes, as the ids of the Hub do.
    @get(
        ["/v1/models/{model_id:path}", "/models/{model_id:path}"],
        summary="One model that is served",
        opt=declare_contract(
            reply_with(ModelCard, "The model"),
            reply_with(ModelInfo, "With the header `anthropic-version`, in Anthropic's form"),
            outcomes=(ModelNotFound,),
        ),
    )
    async def retrieve_model(request: Connection, model_id: FromPath[str]) -> ModelCard | ModelInfo:
        name = model_id.removeprefix("/")
        # Those that are known are found without a look at the disk.
        known = build_cards(workbench.snapshot(), workbench.models.paths)
        cards = known if is_among(known, name) else await build_all_cards(workbench)
        caller = find_caller(request.scope["state"])
        card = find_card([card for card in cards if caller.may_use(card.id)], name)
        return _describe_card(card) if _is_anthropic(request) else card

    return [list_models, retrieve_model]


def _is_anthropic(request: Connection) -> bool:
    return VERSION.decode() in request.headers


def _describe_card(card: ModelCard) -> ModelInfo:
    return describe_model(card.id, card.created, card.context_length)
