"""POST /api/chat and /api/generate: pure translations to `Generation`, and from events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from operator import setitem
from typing import Final

from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec.structs import replace

from api.http.answer import PING_SECONDS, HttpAnswer, OffLoop
from api.http.callers import find_caller
from api.http.contract import ANSWERING, JSON, LINES, READING, RouteReply, check_admin, declare_contract
from api.http.field_rules import tell_ignored
from api.http.leaving import run_while_connected
from api.http.live import EventStream, LiveStreams
from api.http.long_work import run_by_length
from api.http.replies import Headers, JsonReply
from api.http.routed import build_route_headers
from api.http.settle import JsonBody
from api.ollama.durations import read_keep_alive
from api.ollama.errors import OLLAMA_ERRORS
from api.ollama.names import resolve_name
from api.ollama.past import is_past_long
from api.ollama.replies import ChatLine, GenerateLine
from api.ollama.shortening import submit_shortened
from api.ollama.translation import translate_chat, translate_generate
from api.ollama.wire import AskedAnswer, OllamaChat, OllamaGenerate
from api.ollama.writer import MEDIA, PING, ChatLines, GenerateLines, OllamaDialect
from api.openai.tools import can_tell_tools
from core.requests import Conversation, Generation, ReasoningWish
from core.serving.ready import Traits
from core.snapshots import ModelKind
from core.workbench import Workbench

CHAT_BODY: Final = JsonBody(OllamaChat)
GENERATE_BODY: Final = JsonBody(OllamaGenerate)


def build_answer_routes(
    workbench: Workbench, live: LiveStreams, *, max_body: int, ping: float = PING_SECONDS
) -> list[HTTPRouteHandler]:
    service = AnswerService(workbench, live, ping)
    outcomes = (*READING, *ANSWERING)

    @post(
        "/api/chat",
        status_code=200,
        summary="Answer a conversation, in Ollama's dialect",
        opt=declare_contract(
            RouteReply("Lines of JSON, or one document where `stream` is false", {JSON: ChatLine, LINES: ChatLine}),
            body=CHAT_BODY,
            outcomes=outcomes,
            errors=OLLAMA_ERRORS,
        ),
    )
    async def answer_chat(request: Request[object, object, State]) -> ASGIApp:
        began = time.perf_counter()
        asked = await CHAT_BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body, state = asked.body, request.scope["state"]
        translate = partial(translate_chat, body, caller=find_caller(state), request_id=str(state["request_id"]))
        parts = len(body.messages or ()) + len(body.tools or ())
        generation = await run_by_length(workbench.lanes.long_reading, parts, translate)
        generation = await service.choose_model(body, generation)
        dialect = ChatLines(body.model or generation.model, began)
        if not body.messages:
            return await service.settle_model(request, body, generation, dialect)
        return service.answer(request, body, generation, dialect, asked.ignored)

    @post(
        "/api/generate",
        status_code=200,
        summary="Answer a prompt, go on with a text or fill a gap, in Ollama's dialect",
        opt=declare_contract(
            RouteReply(
                "Lines of JSON, or one document where `stream` is false", {JSON: GenerateLine, LINES: GenerateLine}
            ),
            body=GENERATE_BODY,
            outcomes=outcomes,
            errors=OLLAMA_ERRORS,
        ),
    )
    async def answer_prompt(request: Request[object, object, State]) -> ASGIApp:
        began = time.perf_counter()
        asked = await GENERATE_BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body, state = asked.body, request.scope["state"]
        translate = partial(translate_generate, body, caller=find_caller(state), request_id=str(state["request_id"]))
        # A context is a whole conversation, however few its numbers are.
        generation = await workbench.lanes.long_reading.run(translate) if body.context else translate()
        generation = await service.choose_model(body, generation)
        prompt = generation.prompt
        past = prompt.messages if isinstance(prompt, Conversation) else None
        dialect = GenerateLines(body.model or generation.model, began, past)
        if not body.prompt:
            return await service.settle_model(request, body, generation, dialect)
        # The answer's last line has the conversation once more.
        off_loop = workbench.lanes.writing.run if past is not None and is_past_long(past) else None
        return service.answer(request, body, generation, dialect, asked.ignored, off_loop)

    return [answer_chat, answer_prompt]


class AnswerService:
    """What both routes do with a request that is translated."""

    def __init__(self, workbench: Workbench, live: LiveStreams, ping: float) -> None:
        self._workbench = workbench
        self._live = live
        self._ping = ping

    async def choose_model(self, body: AskedAnswer, generation: Generation) -> Generation:
        """Raises as `RequestIntake.choose_model`, RequestError for a time that is none."""
        read_keep_alive(body.keep_alive)
        if not body.model:
            return replace(generation, model=self._workbench.requests.choose_model(ModelKind.CHAT, generation.caller))
        return replace(generation, model=await resolve_name(self._workbench.models, body.model))

    async def settle_model(
        self, request: Request[object, object, State], body: AskedAnswer, generation: Generation, dialect: OllamaDialect
    ) -> ASGIApp:
        """Load the model, or unload it; nothing is asked of it. Raises Denied where its caller may not unload."""
        models, stay = self._workbench.models, read_keep_alive(body.keep_alive)
        model, caller = generation.model, generation.caller
        self._workbench.requests.check_model(model, caller)
        if stay == 0:
            check_admin(caller)
            member = await models.examine(model)
            if member in models.members:
                await models.let_go(member.name)
            vain = ("keep_alive",) if member.pinned else ()
            return JsonReply(dialect.say_nothing("unload"), tell_ignored(vain))
        name = await run_while_connected(request.receive, models.prepare(model))
        if stay is not None and caller.admin:
            models.keep(name, stay)
        return JsonReply(dialect.say_nothing("load"))

    def answer(
        self,
        request: Request[object, object, State],
        body: AskedAnswer,
        generation: Generation,
        dialect: OllamaDialect,
        dropped_fields: tuple[str, ...],
        off_loop: OffLoop | None = None,
    ) -> ASGIApp:
        """`off_loop` as `HttpAnswer` has it. Raises as `RequestIntake.route`."""
        intake, models = self._workbench.requests, self._workbench.models
        routed = intake.route(generation)
        # How long a model stays is everybody's business.
        stay = read_keep_alive(body.keep_alive) if routed.caller.admin else None
        ignored = [*dropped_fields]
        if body.keep_alive is not None and stay is None:
            ignored.append("keep_alive")
        left_out: list[int] = []

        def meet(traits: Traits) -> None:
            dialect.meet()
            if stay is not None:
                models.keep(routed.model, stay)
            context = models.spec(routed.model).context
            ignored.extend(list_vain(body, routed, traits, context))

        def headers() -> Headers:
            told = tuple((b"x-benchtop-dropped-messages", b"%d" % count) for count in left_out[-1:])
            return *build_route_headers(routed), *told, *tell_ignored(ignored)

        called = partial(setitem, request.scope["state"], "request_id")

        async def begin() -> EventStream:
            if body.truncate is False:
                return await intake.submit(routed, called=called, meets=meet)
            return await submit_shortened(intake, routed, called=called, meets=meet, drops=left_out.append)

        return HttpAnswer(
            begin,
            dialect,
            self._live,
            streamed=body.stream is not False,
            ping=self._ping,
            ping_frame=PING,
            stream_media=MEDIA,
            headers=headers,
            off_loop=off_loop,
        )


def list_vain(body: AskedAnswer, request: Generation, traits: Traits, context: int) -> Iterator[str]:
    """Fields that nothing comes of with a model of these traits, whose context holds so many tokens."""
    wanted = body.options.num_ctx if body.options is not None else None
    if wanted and context and wanted > context:
        yield "options.num_ctx"
    if isinstance(request.prompt, Conversation) and request.prompt.tools and not can_tell_tools(traits):
        yield "tools"
    if (
        request.reasoning != ReasoningWish()
        and traits.voice is not None
        and traits.voice.list_ignored(request.reasoning)
    ):
        yield "think"
