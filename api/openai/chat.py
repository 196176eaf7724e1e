"""POST /v1/chat/completions: a pure translation to `Generation`, and from events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from operator import setitem
from typing import Final

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import Raw, UnsetType
from msgspec.structs import replace

from api.http.answer import PING_SECONDS, HttpAnswer
from api.http.contract import ANSWERING, EVENTS, JSON, READING, RouteReply, declare_contract
from api.http.field_rules import tell_ignored
from api.http.live import LiveStreams
from api.http.replies import Headers
from api.http.routed import build_route_headers
from api.http.settle import JsonBody
from api.openai.chat_writer import ChatDialect
from api.openai.constraints import read_constraint
from api.openai.generation_fields import (
    build_unsupported,
    is_timed,
    list_dropped_common,
    list_vain_common,
    read_limit,
    read_priority,
    read_sampling,
    read_stop,
    refuse_unsupported_common,
)
from api.openai.wire import ChatChunk, ChatCompletion, ChatMessage, ChatRequest, RefusalPart, WireTextPart
from core.chat.template import RESERVED
from core.errors import RequestError
from core.names import clean_name
from core.requests import Conversation, Generation, Message, Scalar
from core.requests import TextPart as CoreText
from core.serving.host import Traits
from core.snapshots import ModelKind
from core.workbench import Workbench

PATHS: Final = ("/v1/chat/completions", "/chat/completions")
NO_CALL: Final = (None, "", "none", "auto")
CALLABLE: Final = ("function", "custom")
"""Types of tools that a client runs; all other types are run by a hosted service."""
FOR_TEMPLATES: Final = {
    "reasoning_effort": "reasoning_effort",
    "enable_thinking": "enable_thinking",
    "think": "enable_thinking",
}
"""Fields that change the prompt where a chat template reads the variable."""
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

BODY: Final = JsonBody(ChatRequest)


def build_chat_route(
    workbench: Workbench, live: LiveStreams, *, max_body: int, fingerprint: str, ping: float = PING_SECONDS
) -> HTTPRouteHandler:
    contract = declare_contract(
        RouteReply("One JSON document, or events where `stream` is true", {JSON: ChatCompletion, EVENTS: ChatChunk}),
        body=BODY,
        outcomes=(*READING, *ANSWERING),
    )

    @post(list(PATHS), status_code=200, summary="Answer a conversation", opt=contract)
    async def create_chat_completion(request: Request[object, object, State]) -> ASGIApp:
        asked = await BODY.read(request.receive, max_body, workbench.lanes.long_reading)
        body = asked.body
        state = request.scope["state"]
        # What is wrong with the request is told before a model is loaded for it.
        generation = translate_request(body, tenant=str(state["tenant"]), request_id=str(state["request_id"]))
        if not generation.model:
            generation = replace(generation, model=workbench.requests.choose_model(ModelKind.CHAT))
        dialect = ChatDialect(body, fingerprint, generation.model)
        generation = workbench.requests.route(generation)
        ignored = [*asked.ignored, *list_dropped(body)]

        def meet(traits: Traits) -> None:
            ignored.extend(list_vain(body, traits))

        def headers() -> Headers:
            return *build_route_headers(generation), *tell_ignored(ignored)

        begin = partial(workbench.requests.submit, generation, called=partial(setitem, state, "request_id"), meets=meet)
        return HttpAnswer(begin, dialect, live, streamed=bool(body.stream), ping=ping, headers=headers)

    return create_chat_completion


def list_dropped(body: ChatRequest) -> Iterator[str]:
    """Fields that nothing can come of, whatever the model."""
    if body.tools:
        yield "tools"
    if body.functions:
        yield "functions"
    if _is_outdone(body, "think"):
        yield "think"
    yield from list_dropped_common(body)


def _is_outdone(body: ChatRequest, field: str) -> bool:
    """Whether another field says something else of the same, and goes first."""
    return field == "think" and body.think is not None and body.enable_thinking not in (None, body.think)


def list_vain(body: ChatRequest, traits: Traits) -> Iterator[str]:
    """Fields that nothing comes of with a model of these traits."""
    if traits.template is not None:
        for field, variable in FOR_TEMPLATES.items():
            asked = getattr(body, field) is not None and not _is_outdone(body, field)
            if asked and not re.search(rf"\b{variable}\b", traits.template):
                yield field
    yield from list_vain_common(body, traits)


def translate_request(body: ChatRequest, *, tenant: str = "", request_id: str = "") -> Generation:
    """The canonical request. Raises RequestError, which names the field, for what cannot be done.

    The model is empty where the request names none. Raises ModelNotFound for a name of blanks alone.
    """
    _refuse_unsupported(body)
    limit = read_limit(body)
    return Generation(
        model=clean_name(body.model) if body.model else "",
        prompt=Conversation(
            messages=tuple(_message(message, f"messages[{i}]") for i, message in enumerate(body.messages)),
            template_arguments=_template_arguments(body),
        ),
        sampling=read_sampling(body, _count_logprobs(body)),
        max_tokens=None if limit == -1 else limit,
        stop=read_stop(body),
        n=body.n or 1,
        constraint=read_constraint(body),
        ignore_eos=bool(body.ignore_eos),
        cache=body.cache_prompt is not False,
        cache_salt=body.cache_salt or None,
        reproducible=bool(body.reproducible),
        tell_prefill=bool(body.stream and body.return_progress),
        tell_timings=is_timed(body),
        tenant=tenant,
        priority=read_priority(body),
        request_id=request_id,
    )


def _refuse_unsupported(body: ChatRequest) -> None:
    tool_choice, function_call = _describe_value(body.tool_choice), _describe_value(body.function_call)
    # Tools that shall not be called change nothing.
    if tool_choice != "none" and any(_is_callable(tool) for tool in body.tools or ()):
        raise build_unsupported("tools", "tools")
    if function_call != "none" and body.functions:
        raise build_unsupported("functions", "functions")
    if tool_choice not in NO_CALL:
        raise build_unsupported("tool_choice", "a tool choice other than `none` and `auto`")
    if function_call not in NO_CALL:
        raise build_unsupported("function_call", "a function call other than `none` and `auto`")
    refuse_unsupported_common(body)


def _is_callable(tool: Raw) -> bool:
    """Whether a tool is one that the client would run. What has no type is a function's bare description."""
    try:
        return msgspec.json.decode(tool, type=_Tool).type in CALLABLE
    except (msgspec.MsgspecError, UnicodeError):
        return True


def _describe_value(value: Raw | UnsetType) -> str | None:
    """What a field holds: None for nothing, its text for a string, "..." for anything larger."""
    if isinstance(value, UnsetType) or bytes(value).strip() == b"null":
        return None
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "..."


class _Tool(msgspec.Struct):
    type: str


def _message(message: ChatMessage, path: str) -> Message:
    if message.tool_calls:
        raise build_unsupported(f"{path}.tool_calls", "tool calls")
    return Message(role=message.role, parts=tuple(_parts(message, path)), name=message.name)


def _parts(message: ChatMessage, path: str) -> Iterator[CoreText]:
    if message.content is None:
        if message.refusal:
            yield CoreText(message.refusal)
        return
    if isinstance(message.content, str):
        yield CoreText(message.content)
        return
    for i, part in enumerate(message.content):
        match part:
            case WireTextPart(text=text) | RefusalPart(refusal=text):
                yield CoreText(text)
            case _:
                kind = str(part.__struct_config__.tag)
                raise RequestError(
                    f"The model takes text alone, so a content part of type `{kind}` cannot be used.",
                    f"{path}.content[{i}]",
                )


def _template_arguments(body: ChatRequest) -> dict[str, Scalar]:
    arguments: dict[str, Scalar] = dict(body.chat_template_kwargs or {})
    for name in arguments:
        if name in RESERVED:
            raise RequestError(
                f"`chat_template_kwargs` may not set `{name}`, which the server sets itself.",
                f"chat_template_kwargs.{name}",
            )
        if not VARIABLE.fullmatch(name):
            raise RequestError(
                f"`chat_template_kwargs` has {name[:64]!r}, which is no name for a template's variable.",
                "chat_template_kwargs",
            )
    for field, variable in FOR_TEMPLATES.items():
        value: Scalar = getattr(body, field)
        if value is None or _is_outdone(body, field):
            continue
        if arguments.setdefault(variable, value) != value:
            raise RequestError(
                f"`{field}` is {value!r}, and the request says {arguments[variable]!r} of the same elsewhere; "
                "send one of them.",
                field,
            )
    return arguments


def _count_logprobs(body: ChatRequest) -> int | None:
    if body.top_logprobs and not body.logprobs:
        raise RequestError("`top_logprobs` needs `logprobs` to be true.", "top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None
