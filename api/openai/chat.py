"""POST /v1/chat/completions: a pure translation to `Generation`, and from events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from litestar import Request, Response, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec.structs import replace

from api.http.answer import PING_SECONDS, HttpAnswer
from api.http.callers import find_caller
from api.http.contract import ANSWERING, EVENTS, JSON, READING, RouteReply, declare_contract, reply_with
from api.http.field_rules import tell_ignored
from api.http.live import LiveStreams
from api.http.long_work import MANY_PARTS, run_by_length
from api.http.replies import Headers, add_headers
from api.http.routed import build_route_headers
from api.http.settle import JsonBody
from api.openai.chat_control import ControlledAnswer, ControlledAnswers, build_control_route
from api.openai.chat_writer import ChatDialect
from api.openai.generation_fields import list_dropped_fields, list_vain_fields, translate_fields
from api.openai.message_wire import ChatMessage
from api.openai.messages import is_continued, read_messages
from api.openai.reasoning_fields import (
    check_reasoning,
    list_outdone_reasoning,
    list_vain_reasoning,
    read_reasoning,
)
from api.openai.template_arguments import read_template_arguments
from api.openai.tools import ChosenTools, can_tell_tools, read_functions, read_tools
from api.openai.wire import ChatChunk, ChatCompletion, ChatRequest, ChatTokenCount
from core.errors import RequestError
from core.requests import Caller, Conversation, Generation, Scalar
from core.serving.ready import Traits
from core.snapshots import ModelKind
from core.workbench import Workbench

PATHS: Final = ("/v1/chat/completions", "/chat/completions")
COUNT_PATHS: Final = tuple(f"{path}/input_tokens" for path in PATHS)
"""llama.cpp's."""
BODY: Final = JsonBody(ChatRequest)


def build_chat_routes(
    workbench: Workbench, live: LiveStreams, *, max_body: int, fingerprint: str, ping: float = PING_SECONDS
) -> list[HTTPRouteHandler]:
    contract = declare_contract(
        RouteReply("One JSON document, or events where `stream` is true", {JSON: ChatCompletion, EVENTS: ChatChunk}),
        body=BODY,
        outcomes=(*READING, *ANSWERING),
    )

    controlled: ControlledAnswers = ControlledAnswers()

    @post(list(PATHS), status_code=200, summary="Answer a conversation", opt=contract)
    async def create_chat_completion(request: Request[object, object, State]) -> ASGIApp:
        asked = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body = asked.body
        state = request.scope["state"]
        identity = str(state["request_id"])
        # What is wrong with the request is told before a model is loaded for it.
        generation = await translate_by_length(workbench, body, caller=find_caller(state), request_id=identity)
        if not generation.model:
            generation = replace(generation, model=workbench.requests.choose_model(ModelKind.CHAT, generation.caller))
        dialect = ChatDialect(body, fingerprint, generation.model)
        generation = workbench.requests.route(generation)
        ignored = [*asked.ignored, *list_dropped(body)]

        answer = ControlledAnswer(state)
        if body.reasoning_control:
            controlled[dialect.id] = answer

        def meet(traits: Traits) -> None:
            ignored.extend(list_vain(body, traits))

        def headers() -> Headers:
            return *build_route_headers(generation), *tell_ignored(ignored)

        begin = partial(workbench.requests.submit, generation, called=answer.name, meets=meet)
        return HttpAnswer(begin, dialect, live, streamed=bool(body.stream), ping=ping, headers=headers)

    @post(
        list(COUNT_PATHS),
        status_code=200,
        summary="The tokens of a conversation",
        opt=declare_contract(
            reply_with(ChatTokenCount, "Tokens, with what the chat template writes around the messages"),
            body=BODY,
            outcomes=(*READING, *ANSWERING),
        ),
    )
    async def count_chat_tokens(request: Request[object, object, State]) -> Response[ChatTokenCount]:
        asked = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        caller = find_caller(request.scope["state"])
        generation = await translate_by_length(workbench, asked.body, caller=caller)
        model = generation.model or workbench.requests.choose_model(ModelKind.CHAT, caller)
        generation = workbench.requests.route(replace(generation, model=model))
        count = ChatTokenCount(input_tokens=await workbench.requests.count_tokens(generation))
        ignored = tell_ignored([*asked.ignored, *list_dropped(asked.body)])
        return add_headers(count, (*build_route_headers(generation), *ignored))

    return [create_chat_completion, count_chat_tokens, build_control_route(workbench, controlled, max_body=max_body)]


def list_dropped(body: ChatRequest) -> Iterator[str]:
    """Fields that nothing can come of, whatever the model."""
    yield from list_outdone_reasoning(body)
    yield from list_dropped_fields(body)


def list_vain(body: ChatRequest, traits: Traits) -> Iterator[str]:
    """Fields that nothing comes of with a model of these traits."""
    if not can_tell_tools(traits):
        yield from (name for name in ("tools", "functions") if getattr(body, name))
    yield from list_vain_reasoning(body, traits)
    yield from list_vain_fields(body, traits)


async def translate_by_length(
    workbench: Workbench, body: ChatRequest, *, caller: Caller = Caller(), request_id: str = ""
) -> Generation:
    """`translate_request`; off the event loop where the conversation is long. Raises Busy, too."""
    translate = partial(translate_request, body, caller=caller, request_id=request_id)
    return await run_by_length(workbench.lanes.long_reading, _count_parts(body), translate)


def _count_parts(body: ChatRequest) -> int:
    tools = len(body.tools or ()) + len(body.functions or ())
    if len(body.messages) > MANY_PARTS:
        return len(body.messages) + tools
    listed = (message.content for message in body.messages if isinstance(message.content, list))
    return len(body.messages) + sum(map(len, listed)) + tools


def translate_request(body: ChatRequest, *, caller: Caller = Caller(), request_id: str = "") -> Generation:
    """The canonical request. Raises RequestError, which names the field, for what cannot be done.

    The model is empty where the request names none. Raises ModelNotFound for a name of blanks alone.
    """
    generation = translate_fields(body, logprobs=_count_logprobs(body), caller=caller, request_id=request_id)
    chosen = _read_tools(body)
    continued = _is_continued(body)
    return replace(
        generation,
        prompt=Conversation(
            messages=read_messages(body.messages),
            template_arguments=_template_arguments(body),
            tools=chosen.tools,
            continued=continued,
            begun=continued or body.add_generation_prompt is not False,
        ),
        tool_choice=chosen.choice,
        allowed_tools=chosen.allowed,
        parallel_calls=body.parallel_tool_calls is not False and not body.functions,
        parse_calls=body.parse_tool_calls is not False,
        reasoning=read_reasoning(body),
    )


def _read_tools(body: ChatRequest) -> ChosenTools:
    if not body.functions:
        if body.function_call not in (None, "none", "auto"):
            raise RequestError("`function_call` asks for a call, and there are no `functions`.", "function_call")
        return read_tools(body.tools or (), body.tool_choice)
    if body.tools:
        raise RequestError("`tools` and `functions` both list what may be called; send one of them.", "functions")
    return read_functions(body.functions, body.function_call)


def _is_continued(body: ChatRequest) -> bool:
    """Whether the answer goes on with the last message. Raises RequestError where it is to, and cannot."""
    said: dict[str, bool] = {}
    if body.continue_final_message is not None:
        said["continue_final_message"] = body.continue_final_message
    can = is_continued(body.messages)
    if body.add_generation_prompt is not None and (body.add_generation_prompt or can):
        said["add_generation_prompt"] = not body.add_generation_prompt
    last = body.messages[-1]
    for name in ("prefix", "partial"):
        if getattr(last, name):
            said[f"messages[{len(body.messages) - 1}].{name}"] = True
    if len(set(said.values())) > 1:
        first, *_, other = said
        raise RequestError(f"`{first}` and `{other}` say the opposite of each other; send one of them.", other)
    if not said:
        _refuse_two_endings(body.messages)
        return can
    field, wanted = next(iter(said.items()))
    if wanted and not can:
        raise RequestError(f"`{field}` goes on with the last message, which must be the assistant's words.", field)
    return wanted


def _refuse_two_endings(messages: Sequence[ChatMessage]) -> None:
    """Raises RequestError where it is not clear what is to be gone on with."""
    if len(messages) > 1 and all(is_continued([message]) for message in messages[-2:]):
        raise RequestError(
            "`messages` ends with two of the assistant's, and the answer would go on with the last alone; put them "
            "together, or say with `continue_final_message` what is meant.",
            "messages",
        )


def _template_arguments(body: ChatRequest) -> dict[str, Scalar]:
    arguments = read_template_arguments(body.chat_template_kwargs)
    check_reasoning(body, arguments)
    return arguments


def _count_logprobs(body: ChatRequest) -> int | None:
    if body.top_logprobs and not body.logprobs:
        raise RequestError("`top_logprobs` needs `logprobs` to be true.", "top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None
