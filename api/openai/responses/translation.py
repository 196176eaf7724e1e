"""From a request for a response to a `Generation`, and to what the response repeats of its request."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct, UnsetType
from msgspec.structs import replace

from api.openai.constraints import read_constraint
from api.openai.generation_fields import (
    LIMITS,
    TIERS,
    list_dropped_fields,
    list_vain_fields,
    read_limit,
    read_priority,
    read_sampling,
    read_stop,
    read_text_biases,
    refuse_unsupported_fields,
)
from api.openai.reasoning_fields import list_outdone_reasoning, list_vain_reasoning, read_reasoning
from api.openai.responses import fields
from api.openai.responses.items import ReadItems, build_messages, make_id, read_items
from api.openai.responses.resource import ENCODER, ReasoningEcho, ResponseResource, TextEcho
from api.openai.responses.tools import ReadTools, read_tools
from api.openai.responses.wire import EffortWish, InputItem, ResponseRequest, TextFormat
from api.openai.tools import can_tell_tools
from core.errors import RequestError
from core.names import clean_name
from core.requests import (
    Caller,
    Constraint,
    Conversation,
    Generation,
    JsonObject,
    JsonSchema,
    Sampling,
    SamplingWish,
)
from core.serving.ready import Traits

LOGPROBS: Final = "message.output_text.logprobs"
SEALED: Final = "reasoning.encrypted_content"
NO_TOOLS: Final = Raw(b"[]")
PLAIN: Final = Raw(b'{"type":"text"}')


class ReadRequest(Struct, frozen=True):
    """A request, all of it read but for what earlier responses bring."""

    body: ResponseRequest
    items: ReadItems
    tools: ReadTools
    constraint: Constraint | None
    told_tools: Raw
    """The tools as the response repeats them."""
    ignored: tuple[str, ...]
    """Names of what was dropped of it."""


def read_request(body: ResponseRequest, ignored: Sequence[str] = ()) -> ReadRequest:
    """Raises RequestError, which names the field, for what cannot be done whatever came before."""
    if unknown := next((each for each in body.include or () if each not in fields.INCLUDED), None):
        raise RequestError(
            f"`include` does not know {unknown[:64]!r}; it may name {', '.join(fields.INCLUDED)}.", "include"
        )
    if body.background and body.store is False:
        raise RequestError("A response in the background is asked for later, so `store` cannot be false.", "store")
    if body.n not in (None, 1):
        raise RequestError("There is one answer to a request for a response; send it again for another.", "n")
    _check_limit(body)
    refuse_unsupported_fields(body)
    items, tools = read_items(body.input), read_tools(body.tools or (), body.tool_choice)
    dropped = (*ignored, *items.ignored, *tools.ignored, *_list_dropped(body))
    told = Raw(ENCODER.encode([_complete_tool(tool) for tool in body.tools])) if body.tools else NO_TOOLS
    return ReadRequest(body, items, tools, _constraint(body), told, tuple(dict.fromkeys(dropped)))


def _list_dropped(body: ResponseRequest) -> Iterator[str]:
    yield from list_dropped_fields(body)
    yield from list_outdone_reasoning(body)
    yield from (name for name in ("return_progress", "timings_per_token") if getattr(body, name))
    if body.max_tool_calls is not None:
        yield "max_tool_calls"
    if body.prompt_cache_key:
        yield "prompt_cache_key"


def translate_response(
    read: ReadRequest, items: Sequence[InputItem], *, before: int = 0, caller: Caller = Caller(), request_id: str = ""
) -> Generation:
    """The canonical request for an answer to `items`, of which those of earlier responses come first, `before` of them.

    Raises RequestError where they make no conversation. The model is empty where the request names none.
    """
    body = read.body
    messages = build_messages(items, body.instructions, before)
    if not items:
        raise RequestError("The field `input` is missing.", "input")
    return Generation(
        model=clean_name(body.model) if body.model else "",
        prompt=Conversation(messages, tools=read.tools.tools),
        sampling=read_sampling(body, read_logprobs(body)),
        max_tokens=_read_limit(body),
        biased_texts=tuple(read_text_biases(body)),
        stop=read_stop(body),
        constraint=read.constraint,
        tool_choice=read.tools.choice,
        allowed_tools=read.tools.allowed,
        parallel_calls=body.parallel_tool_calls is not False,
        reasoning=read_reasoning(body),
        ignore_eos=bool(body.ignore_eos),
        cache=body.cache_prompt is not False,
        cache_salt=body.cache_salt or None,
        reproducible=bool(body.reproducible),
        caller=caller,
        priority=read_priority(body),
        request_id=request_id,
    )


def build_draft(read: ReadRequest, model: str) -> ResponseResource:
    """The response as it stands before anything was answered."""
    body = read.body
    tier = "priority" if body.service_tier == "fast" else body.service_tier or ""
    return ResponseResource(
        id=make_id("resp"),
        created_at=int(time.time()),
        status="in_progress",
        model=model,
        previous_response_id=body.previous_response_id,
        instructions=body.instructions,
        background=bool(body.background),
        store=body.store is not False,
        metadata=dict(body.metadata or {}),
        tools=read.told_tools,
        tool_choice=_echo_choice(body.tool_choice),
        parallel_tool_calls=body.parallel_tool_calls is not False,
        max_tool_calls=body.max_tool_calls,
        text=TextEcho(_echo_format(body.text.format if body.text else None)),
        reasoning=ReasoningEcho(read_reasoning(body).effort, find_summary(body)),
        max_output_tokens=_read_limit(body),
        top_logprobs=body.top_logprobs or 0,
        service_tier=tier if tier in TIERS and tier != "auto" else "default",
        prompt_cache_key=body.prompt_cache_key,
        safety_identifier=body.safety_identifier,
        user=body.user,
    )


def tell_sampling(draft: ResponseResource, wish: SamplingWish, base: Sampling) -> ResponseResource:
    """The same with how its tokens are drawn; `base` is how the model draws where a request does not say it."""
    sampling = wish.over(base)
    return replace(
        draft,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
    )


def read_logprobs(body: ResponseRequest) -> int | None:
    """As `Sampling` has it."""
    wanted = body.top_logprobs or LOGPROBS in (body.include or ())
    return (body.top_logprobs or 0) if wanted else None


def find_summary(body: ResponseRequest) -> str | None:
    """How thoughts are to be summed up; None for not at all."""
    wish = body.reasoning or EffortWish()
    summary = wish.summary or wish.generate_summary
    return None if summary == "none" else summary


def list_vain(body: ResponseRequest, traits: Traits) -> Iterator[str]:
    """Fields that nothing comes of with a model of these traits."""
    yield from list_vain_fields(body, traits)
    yield from list_vain_reasoning(body, traits)
    if body.tools and not can_tell_tools(traits):
        yield "tools"


def _check_limit(body: ResponseRequest) -> None:
    limit = body.max_output_tokens
    if limit == 0:
        raise RequestError(
            "The field `max_output_tokens` is wrong: expected at least 1, or -1 for as many as fit.",
            "max_output_tokens",
        )
    other = next((name for name in LIMITS if getattr(body, name) not in (None, limit)), None)
    if limit is not None and other is not None:
        raise RequestError(f"`max_output_tokens` and `{other}` differ; send one of them.", other)


def _read_limit(body: ResponseRequest) -> int | None:
    """New tokens at most; None for any number."""
    limit = body.max_output_tokens if body.max_output_tokens is not None else read_limit(body)
    return None if limit is None or limit < 0 else limit


def _constraint(body: ResponseRequest) -> Constraint | None:
    """What the answer must be: by `text.format`, or by the fields of llama.cpp and vLLM."""
    other = read_constraint(body)
    wish = body.text.format if body.text else None
    form = None if wish is None or wish.type == "text" else _read_format(wish)
    if form is None:
        return other
    if other is not None:
        raise RequestError(
            f"`{other.field}` and `text.format` both say what the answer must be; send one of them.", "text.format"
        )
    return Constraint(form, "text.format")


def _read_format(wish: TextFormat) -> JsonObject | JsonSchema:
    if wish.type == "json_object":
        return JsonObject()
    if isinstance(wish.schema, UnsetType) or bytes(wish.schema).strip() == b"null":
        raise RequestError("A `text.format` of type `json_schema` needs its schema in `schema`.", "text.format.schema")
    try:
        return JsonSchema(bytes(wish.schema).decode())
    except UnicodeDecodeError:
        raise RequestError("The field `text.format.schema` is no JSON Schema.", "text.format.schema") from None


def _echo_format(wish: TextFormat | None) -> Raw:
    return PLAIN if wish is None else Raw(ENCODER.encode(_without_nulls(wish)))


def _without_nulls(wish: TextFormat) -> Mapping[str, object]:
    return {name: value for name, value in msgspec.structs.asdict(wish).items() if value not in (None, msgspec.UNSET)}


def _echo_choice(choice: Raw | UnsetType) -> Raw:
    data = b"null" if isinstance(choice, UnsetType) else bytes(choice).strip()
    return Raw(b'"auto"') if data in (b"null", b'""') else Raw(data)


class _Completed(Struct):
    """A function as the response repeats it: the API description wants all of its fields."""

    name: str
    type: str = "function"
    description: str | None = None
    parameters: Raw = Raw(b"null")
    strict: bool | None = None


def _complete_tool(tool: Raw) -> Raw:
    data = bytes(tool)
    try:
        looked_at = msgspec.json.decode(data, type=_Completed)
    except msgspec.MsgspecError:
        return tool
    return Raw(ENCODER.encode(looked_at)) if looked_at.type == "function" else Raw(data)
