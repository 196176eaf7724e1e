"""POST /v1/messages and /v1/messages/count_tokens: pure translations to `Generation`, and from events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import setitem
from typing import Final

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec.structs import replace

from api.anthropic.errors import ANTHROPIC_ERRORS, PATH
from api.anthropic.replies import (
    BlockDelta,
    BlockStart,
    BlockStop,
    MessageDelta,
    MessageReply,
    MessageStart,
    MessageStop,
    TokenCount,
)
from api.anthropic.translation import count_blocks, list_dropped, list_vain, translate_counted, translate_messages
from api.anthropic.wire import CountRequest, MessagesRequest, ThinkingConfig
from api.anthropic.writer import PING, MessagesDialect
from api.http.answer import PING_SECONDS, HttpAnswer
from api.http.callers import find_caller
from api.http.contract import ANSWERING, EVENTS, JSON, READING, RouteReply, declare_contract, reply_with
from api.http.field_rules import tell_ignored
from api.http.live import LiveStreams
from api.http.long_work import run_by_length
from api.http.replies import Headers, add_headers
from api.http.routed import build_route_headers
from api.http.settle import JsonBody
from core.requests import Generation
from core.serving.ready import Traits
from core.snapshots import ModelKind
from core.workbench import Workbench

BODY: Final = JsonBody(MessagesRequest)
COUNT_BODY: Final = JsonBody(CountRequest)
STREAMED: Final = (MessageStart, BlockStart, BlockDelta, BlockStop, MessageDelta, MessageStop)


def build_messages_routes(
    workbench: Workbench, live: LiveStreams, *, max_body: int, ping: float = PING_SECONDS
) -> list[HTTPRouteHandler]:
    def choose_model(generation: Generation) -> Generation:
        if not generation.model:
            generation = replace(generation, model=workbench.requests.choose_model(ModelKind.CHAT, generation.caller))
        return generation

    async def translate(body: CountRequest, make: Callable[[], Generation]) -> Generation:
        """A long conversation is translated off the event loop."""
        return await run_by_length(workbench.lanes.long_reading, count_blocks(body), make)

    @post(
        PATH,
        status_code=200,
        summary="Answer a conversation, in Anthropic's dialect",
        opt=declare_contract(
            reply_with(MessageReply, "A message, or events where `stream` is true"),
            *(RouteReply("With `stream`", {EVENTS: kind}) for kind in STREAMED),
            body=BODY,
            outcomes=(*READING, *ANSWERING),
            errors=ANTHROPIC_ERRORS,
        ),
    )
    async def create_message(request: Request[object, object, State]) -> ASGIApp:
        asked = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body = asked.body
        state = request.scope["state"]
        # What is wrong with the request is told before a model is loaded for it.
        caller, identity = find_caller(state), str(state["request_id"])
        generation = choose_model(
            await translate(body, partial(translate_messages, body, caller=caller, request_id=identity))
        )
        dialect = MessagesDialect(
            generation.model,
            lambda: str(state["request_id"]),
            omits_thoughts=_omits_thoughts(body.thinking),
            silent=body.max_tokens == 0,
        )
        generation = workbench.requests.route(generation)

        ignored = [*asked.ignored, *list_dropped(body)]

        def meet(traits: Traits) -> None:
            ignored.extend(list_vain(body, generation.reasoning, traits))

        def headers() -> Headers:
            return *build_route_headers(generation), *tell_ignored(ignored)

        begin = partial(workbench.requests.submit, generation, called=partial(setitem, state, "request_id"), meets=meet)
        return HttpAnswer(begin, dialect, live, streamed=bool(body.stream), ping=ping, ping_frame=PING, headers=headers)

    @post(
        f"{PATH}/count_tokens",
        status_code=200,
        summary="Count the tokens of a conversation, in Anthropic's dialect",
        opt=declare_contract(
            RouteReply("The prompt's tokens, also where they are more than the context holds", {JSON: TokenCount}),
            body=COUNT_BODY,
            outcomes=(*READING, *ANSWERING),
            errors=ANTHROPIC_ERRORS,
        ),
    )
    async def count_message_tokens(request: Request[object, object, State]) -> Response[TokenCount]:
        asked = await COUNT_BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        caller = find_caller(request.scope["state"])
        counted = await translate(asked.body, partial(translate_counted, asked.body, caller=caller))
        generation = workbench.requests.route(choose_model(counted))
        tokens = await workbench.requests.count_tokens(generation)
        ignored = tell_ignored([*asked.ignored, *list_dropped(asked.body)])
        return add_headers(TokenCount(tokens), (*build_route_headers(generation), *ignored))

    return [create_message, count_message_tokens]


def _omits_thoughts(thinking: ThinkingConfig | None) -> bool:
    return thinking is not None and thinking.display == "omitted"
