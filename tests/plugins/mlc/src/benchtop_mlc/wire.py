"""The canonical request as the arguments of mlc-llm's OpenAI-like calls, and the chunks that they stream.

Names and bounds are those of mlc_llm/protocol/openai_api_protocol.py and MLCEngine's docstrings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from core.errors import RequestError
from core.requests import Conversation, Message, RawText, RawTokens, ResolvedGeneration, Role, Sampling

SEEDS: Final = 0x7FFF_FFFF
"""Choices sample with seeds in a row, in a 32-bit integer; this keeps all of them from its end and its sign."""
BAN: Final = -100.0
"""The lowest bias that mlc-llm takes."""


class TopLogprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class Logprob(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] = []


class Logprobs(Struct, frozen=True):
    content: list[Logprob]


class Delta(Struct, frozen=True):
    content: str | None = None


class Choice(Struct, frozen=True):
    """Of a chat, with `delta`, or of a plain completion, with `text`."""

    index: int
    finish_reason: str | None = None
    delta: Delta | None = None
    text: str | None = None
    logprobs: Logprobs | None = None


class Counts(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int


class Chunk(Struct, frozen=True):
    choices: list[Choice]
    usage: Counts | None = None
    """In the last chunk alone, which has no choices."""


def arguments(request: ResolvedGeneration, usual: Sampling) -> dict[str, object]:
    """Keywords for `chat.completions.create`, or for `completions.create` where the prompt is no conversation.

    Raises RequestError for what mlc-llm would not honour. `stop` is not among them: mlc-llm does not tell which of the
    stop strings came up, so they are looked for here.
    """
    made: dict[str, object] = {"stream": True, "stream_options": {"include_usage": True}, "n": request.n}
    made |= dict(_prompt(request))
    if request.max_tokens is not None:
        made["max_tokens"] = request.max_tokens
    if request.ignore_eos:
        made["extra_body"] = {"debug_config": {"ignore_eos": True}}
    _check(request.sampling, usual)
    return made | dict(_sampling(request))


def _prompt(request: ResolvedGeneration) -> Iterator[tuple[str, object]]:
    match request.prompt:
        case Conversation(messages=messages, template_arguments=extra):
            if extra:
                raise _refusal("chat_template_kwargs")
            yield "messages", [_message(message) for message in messages]
        case RawText(text=text):
            yield "prompt", text
        case RawTokens(tokens=tokens):
            yield "prompt", list(tokens)


def _message(message: Message) -> dict[str, str]:
    role = Role.SYSTEM if message.role is Role.DEVELOPER else message.role
    written = {"role": role.value, "content": message.text}
    return written if message.name is None else {**written, "name": message.name}


def _check(sampling: Sampling, usual: Sampling) -> None:
    """Refuse what has no counterpart and would change the answer."""
    if not sampling.greedy:
        for name, neutral in (("top_k", 0), ("min_p", 0.0), ("typical_p", 1.0)):
            if getattr(sampling, name) not in (neutral, -1 if name == "top_k" else neutral):
                raise _refusal(name)
    if sampling.repeat_penalty != usual.repeat_penalty:
        raise _refusal("repeat_penalty")
    penalized = bool(sampling.frequency_penalty or sampling.presence_penalty)
    if penalized and sampling.repeat_last_n not in (-1, Sampling().repeat_last_n):
        raise _refusal("repeat_last_n")


def _refusal(field: str) -> RequestError:
    return RequestError(f"mlc-llm, which runs this model, has no `{field}`; send the request without it.", field)


def _sampling(request: ResolvedGeneration) -> Iterator[tuple[str, object]]:
    sampling = request.sampling
    yield "temperature", max(0.0, sampling.temperature)
    yield "top_p", 1.0 if sampling.greedy else sampling.top_p
    if sampling.seed is not None:
        yield "seed", sampling.seed % (SEEDS + 1 - request.n)
    if sampling.frequency_penalty:
        yield "frequency_penalty", sampling.frequency_penalty
    if sampling.presence_penalty:
        yield "presence_penalty", sampling.presence_penalty
    if sampling.logit_bias:
        yield "logit_bias", {token: max(bias, BAN) for token, bias in sampling.logit_bias}
    if sampling.logprobs is not None:
        if not isinstance(request.prompt, Conversation):
            raise RequestError("mlc-llm gives log-probabilities here for chats alone; leave them out.", "logprobs")
        yield "logprobs", True
        yield "top_logprobs", sampling.logprobs
