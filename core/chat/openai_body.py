"""The canonical request, and why an answer to it ended, as OpenAI's dialect writes them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec
from msgspec import Raw

from core.errors import RequestError
from core.events import FinishReason
from core.requests import (
    Calling,
    CallOf,
    Conversation,
    Infill,
    Message,
    RawText,
    RawTokens,
    ReasoningWish,
    ResolvedGeneration,
    Sampling,
    Tool,
)

UNTOLD: Final = Sampling(
    temperature=math.nextafter(1.0, 2.0),
    top_k=-1,
    top_p=math.nextafter(1.0, 0.0),
    min_p=math.nextafter(0.0, 1.0),
)
"""What a request samples with where its client said nothing. The values are neutral, by a hair: so what equals them is
left to the server elsewhere, which knows what its model's makers recommend, and what a client said is sent, also when
it is neutral."""

ANY_SEED: Final = 0xFFFF_FFFF
"""As 32 bits hold it, also -1: vLLM and llama.cpp draw a seed of their own for it, so no choice may come to it."""
BAN_BIAS: Final = -100.0
"""The lowest bias that OpenAI's dialect takes; JSON has no infinity."""


FINISH_REASONS: Final = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT: "length",
    FinishReason.LOOP: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
}


class Kind(Enum):
    """Servers that differ in the names of their extensions."""

    VLLM = "vllm"
    OTHER = "other"


def choose_path(request: ResolvedGeneration) -> str:
    """Below `/v1`."""
    return "/chat/completions" if isinstance(request.prompt, Conversation) else "/completions"


def build_body(request: ResolvedGeneration, model: str, kind: Kind) -> bytes:
    """The body to POST; fields that say nothing are left out. Raises RequestError for what `kind` would ignore."""
    body: dict[str, object] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    body.update(_prompt(request))
    body.update(_extent(request))
    body.update(_sampling(request.sampling, request.n))
    body.update(_penalties(request.sampling, kind))
    body.update(_logprobs(request))
    body.update(_caching(request, kind))
    return msgspec.json.encode(body)


def _prompt(request: ResolvedGeneration) -> Iterator[tuple[str, object]]:
    match request.prompt:
        case Conversation() as conversation:
            yield "messages", [_message(message) for message in conversation.messages]
            yield from _calling(conversation, request)
            yield from _thinking(conversation, request.reasoning)
            if conversation.continued:
                yield "add_generation_prompt", False
                yield "continue_final_message", True
            elif not conversation.begun:
                yield "add_generation_prompt", False
        case RawText(text=text):
            yield "prompt", text
        case RawTokens(tokens=tokens):
            yield "prompt", tokens
        case Infill() as gap:
            yield from _gap(gap)


def _gap(gap: Infill) -> Iterator[tuple[str, object]]:
    """As OpenAI has it. Raises RequestError for what llama.cpp has beside that."""
    if gap.files:
        raise RequestError(
            "The model runs on a server elsewhere, which is sent the texts around a gap and no other files; send the "
            "request without `input_extra`.",
            "input_extra",
        )
    yield "prompt", gap.before + gap.begun
    yield "suffix", gap.after


def _message(message: Message) -> dict[str, object]:
    written: dict[str, object] = {"role": message.role.value, "content": message.text}
    if message.name is not None:
        written["name"] = message.name
    if message.reasoning:
        written["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        written["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        written["content"] = message.text or None
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return written


def _calling(conversation: Conversation, request: ResolvedGeneration) -> Iterator[tuple[str, object]]:
    # No mask reaches there, so that server is told of those alone that may be called.
    tools = conversation.tools if request.allowed_tools is None else request.callable_tools
    if not tools:
        return
    yield "tools", [_tool(tool) for tool in tools]
    match request.tool_choice:
        case CallOf(name=name):
            yield "tool_choice", {"type": "function", "function": {"name": name}}
        case Calling.AUTO:
            pass
        case Calling() as choice:
            yield "tool_choice", choice.value
    if not request.parallel_calls:
        yield "parallel_tool_calls", False


def _tool(tool: Tool) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name, "parameters": Raw(tool.parameters.encode())}
    if tool.description:
        function["description"] = tool.description
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _thinking(conversation: Conversation, wish: ReasoningWish) -> Iterator[tuple[str, object]]:
    """Raises RequestError for what only the server that draws the tokens could do."""
    if wish.budget is not None:
        raise RequestError(
            "The model runs on a server elsewhere, so nothing here can bound the tokens of its thought; send "
            "`reasoning_effort`, or leave out the budget.",
            "reasoning_budget",
        )
    arguments = dict(conversation.template_arguments)
    if wish.think is not None:
        arguments.setdefault("enable_thinking", wish.think)
    if wish.effort is not None:
        yield "reasoning_effort", wish.effort
    if arguments:
        yield "chat_template_kwargs", arguments


def _extent(request: ResolvedGeneration) -> Iterator[tuple[str, object]]:
    """How many choices, and where they end."""
    if request.n != 1:
        yield "n", request.n
    if request.max_tokens is not None:
        yield "max_tokens", request.max_tokens
    if request.stop:
        yield "stop", request.stop
    if request.ignore_eos:
        yield "ignore_eos", True


def _sampling(sampling: Sampling, choices: int) -> Iterator[tuple[str, object]]:
    for name in ("temperature", "top_p", "top_k", "min_p"):
        value = getattr(sampling, name)
        if value != getattr(UNTOLD, name):
            yield name, value
    if sampling.seed is not None:
        yield "seed", sampling.seed % (ANY_SEED + 1 - choices)
    if sampling.logit_bias:
        yield "logit_bias", {str(token): max(bias, BAN_BIAS) for token, bias in sampling.logit_bias}


def _penalties(sampling: Sampling, kind: Kind) -> Iterator[tuple[str, object]]:
    """Only the penalties that do something: every server takes a missing penalty for none."""
    penalties = {
        "repetition_penalty" if kind is Kind.VLLM else "repeat_penalty": (sampling.repeat_penalty, 1.0),
        "frequency_penalty": (sampling.frequency_penalty, 0.0),
        "presence_penalty": (sampling.presence_penalty, 0.0),
    }
    active = {name: value for name, (value, neutral) in penalties.items() if value != neutral}
    extensions: dict[str, object] = {}
    if active and sampling.repeat_last_n != UNTOLD.repeat_last_n:
        extensions["repeat_last_n"] = sampling.repeat_last_n
    if sampling.typical_p != UNTOLD.typical_p:
        extensions["typical_p"] = sampling.typical_p
    if extensions and kind is Kind.VLLM:
        name = next(iter(extensions))
        raise RequestError(f"vLLM, which serves this model, has no `{name}`; send the request without it.", name)
    yield from active.items()
    yield from extensions.items()


def _logprobs(request: ResolvedGeneration) -> Iterator[tuple[str, object]]:
    wanted = request.sampling.logprobs
    if wanted is None:
        return
    if not isinstance(request.prompt, Conversation):
        yield "logprobs", wanted
        return
    yield "logprobs", True
    if wanted:
        yield "top_logprobs", wanted


def _caching(request: ResolvedGeneration, kind: Kind) -> Iterator[tuple[str, object]]:
    if kind is Kind.VLLM:
        if request.caller.tenant or request.cache_salt:
            # vLLM's own way of dividing its prefix cache: all our tenants come to it under one key.
            yield "cache_salt", " ".join(filter(None, (request.caller.tenant, request.cache_salt)))
    elif not request.cache:
        yield "cache_prompt", False
