"""POST /v1/chat/completions: a pure translation to `Generation`, and from events."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from operator import setitem
from typing import Final
from urllib.parse import quote

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
from api.http.settle import JsonBody
from api.openai.chat_writer import ChatDialect
from api.openai.constraints import read_constraint
from api.openai.wire import ChatChunk, ChatCompletion, ChatMessage, ChatRequest, RefusalPart, WireTextPart
from core.chat.template import RESERVED
from core.errors import RequestError
from core.names import clean_name
from core.requests import Conversation, Generation, Message, Priority, SamplingWish, Scalar
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
TIERS: Final = {
    "auto": Priority.NORMAL,
    "default": Priority.NORMAL,
    "flex": Priority.BATCH,
    "priority": Priority.INTERACTIVE,
}
"""What `service_tier` asks for."""
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


def build_route_headers(request: Generation) -> Headers:
    """What tells a client which model was chosen for it, and why."""
    if not request.route:
        return ()
    model = quote(request.model, safe="/:@ ")
    return (b"x-benchtop-model", model.encode()), (b"x-benchtop-route", request.route.encode("ascii", "replace"))


def list_dropped(body: ChatRequest) -> Iterator[str]:
    """Fields that nothing can come of, whatever the model."""
    if body.tools:
        yield "tools"
    if body.functions:
        yield "functions"
    if body.service_tier and body.service_tier not in TIERS:
        yield "service_tier"
    if _is_outdone(body, "think"):
        yield "think"
    other = body.max_completion_tokens or body.max_tokens
    if other is not None and body.n_predict not in (None, other):
        yield "n_predict"


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
    if traits.vocabulary is not None and any(token >= traits.vocabulary for token, _ in _biases(body.logit_bias or {})):
        yield "logit_bias"
    if body.stream and not traits.stepwise:
        yield from (name for name in ("return_progress", "timings_per_token") if getattr(body, name))


def translate_request(body: ChatRequest, *, tenant: str = "", request_id: str = "") -> Generation:
    """The canonical request. Raises RequestError, which names the field, for what cannot be done.

    The model is empty where the request names none. Raises ModelNotFound for a name of blanks alone.
    """
    _refuse_unsupported(body)
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    options = body.stream_options
    return Generation(
        model=clean_name(body.model) if body.model else "",
        prompt=Conversation(
            messages=tuple(_message(message, f"messages[{i}]") for i, message in enumerate(body.messages)),
            template_arguments=_template_arguments(body),
        ),
        sampling=_sampling(body),
        max_tokens=_max_tokens(body),
        # An empty text stands everywhere, and so marks nothing.
        stop=tuple(text for text in stop if text),
        n=body.n or 1,
        constraint=read_constraint(body),
        ignore_eos=bool(body.ignore_eos),
        cache=body.cache_prompt is not False,
        cache_salt=body.cache_salt or None,
        reproducible=bool(body.reproducible),
        tell_prefill=bool(body.stream and body.return_progress),
        tell_timings=bool(body.stream and (body.timings_per_token or (options and options.continuous_usage_stats))),
        tenant=tenant,
        priority=_priority(body),
        request_id=request_id,
    )


def _priority(body: ChatRequest) -> Priority:
    if isinstance(body.priority, Priority):
        return body.priority
    if body.priority:
        return Priority.BATCH if body.priority > 0 else Priority.INTERACTIVE
    return TIERS.get(body.service_tier or "", Priority.NORMAL)


def _refuse_unsupported(body: ChatRequest) -> None:
    tool_choice, function_call = _describe_value(body.tool_choice), _describe_value(body.function_call)
    # Tools that shall not be called change nothing.
    if tool_choice != "none" and any(_is_callable(tool) for tool in body.tools or ()):
        raise _build_unsupported("tools", "tools")
    if function_call != "none" and body.functions:
        raise _build_unsupported("functions", "functions")
    if tool_choice not in NO_CALL:
        raise _build_unsupported("tool_choice", "a tool choice other than `none` and `auto`")
    if function_call not in NO_CALL:
        raise _build_unsupported("function_call", "a function call other than `none` and `auto`")
    if body.best_of is not None and body.best_of not in (0, 1, body.n or 1):
        raise _build_unsupported("best_of", "choosing the best of more answers than are asked for")
    if body.min_tokens and not (body.ignore_eos and not body.stop):
        raise RequestError(
            "This server does not support `min_tokens` yet; send the request without it, or with `ignore_eos`.",
            "min_tokens",
        )


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


def _build_unsupported(field: str, what: str) -> RequestError:
    return RequestError(f"This server does not support {what} yet; send the request without `{field}`.", field)


def _message(message: ChatMessage, path: str) -> Message:
    if message.tool_calls:
        raise _build_unsupported(f"{path}.tool_calls", "tool calls")
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


def _max_tokens(body: ChatRequest) -> int | None:
    """None for any number."""
    given = {
        name: value
        for name in ("max_completion_tokens", "max_tokens", "n_predict")
        if (value := getattr(body, name)) is not None
    }
    for name, value in given.items():
        if value == 0:
            raise RequestError(f"The field `{name}` is wrong: expected at least 1, or -1 for as many as fit.", name)
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise RequestError(
            f"`max_tokens` is {old} and `max_completion_tokens` is {new}; send one of them.", "max_completion_tokens"
        )
    # llama.cpp's own name counts where OpenAI's are left out.
    limit = next(iter(given.values()), -1)
    return None if limit < 0 else limit


def _sampling(body: ChatRequest) -> SamplingWish:
    if body.top_logprobs and not body.logprobs:
        raise RequestError("`top_logprobs` needs `logprobs` to be true.", "top_logprobs")
    return SamplingWish(
        temperature=body.temperature,
        top_k=None if body.top_k is None else max(body.top_k, 0),
        top_p=body.top_p,
        min_p=body.min_p,
        typical_p=body.typical_p,
        repeat_penalty=body.repeat_penalty,
        repeat_last_n=body.repeat_last_n,
        frequency_penalty=body.frequency_penalty,
        presence_penalty=body.presence_penalty,
        logit_bias=None if body.logit_bias is None else tuple(_biases(body.logit_bias)),
        seed=body.seed,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )


def _biases(biases: Mapping[str, float]) -> Iterator[tuple[int, float]]:
    for token, bias in biases.items():
        # The length keeps int() from the digits of a novel; no vocabulary has ids of ten digits.
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise RequestError(f"`logit_bias` maps token ids to numbers; {token[:32]!r} is no token id.", "logit_bias")
        yield int(token), bias
