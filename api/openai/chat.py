"""POST /v1/chat/completions: a pure translation to `Generation`, and from events."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import setitem
from urllib.parse import quote

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from api.bodies import decode_body, read_body
from api.errors import refusal
from api.live import LiveStreams
from api.openai.wire import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatMessage,
    ChatRequest,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionDetails,
    Delta,
    PromptDetails,
    RefusalPart,
    TextPart,
    TopLogprob,
    Unsupported,
    WireLogprob,
    WireTimings,
    WireUsage,
)
from api.replies import Headers
from api.sse import DONE, PING_SECONDS, Answer, frame
from core.chat.template import RESERVED
from core.errors import RequestError
from core.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    TextDelta,
    TokenLogprob,
    Usage,
    fold,
    total_usage,
)
from core.requests import Conversation, Generation, Message, Sampling, Scalar
from core.requests import TextPart as CoreText
from core.workbench import Workbench

FINISH = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT: "length",
}

NEUTRAL_SAMPLING = (
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
    "seed",
)
"""Fields that go to `Sampling` under the same name as they stand."""

DECODER = msgspec.json.Decoder(ChatRequest)
ENCODER = msgspec.json.Encoder()


def chat_route(
    workbench: Workbench, live: LiveStreams, *, max_body: int, fingerprint: str, ping: float = PING_SECONDS
) -> HTTPRouteHandler:
    @post("/v1/chat/completions", status_code=200, summary="Answer a conversation")
    async def create_chat_completion(request: Request[object, object, State]) -> ASGIApp:
        body = decode_body(await read_body(request.receive, max_body), DECODER)
        state = request.scope["state"]
        # What is wrong with the request is told before a model is loaded for it.
        generation = to_core(
            body,
            Sampling(),
            tenant=str(state["tenant"]),
            request_id=live.unique(str(state["request_id"])),
        )
        generation = workbench.route(generation)

        def sampled(asked: Generation, defaults: Sampling) -> Generation:
            return replace(asked, sampling=_sampling(body, defaults))

        begin = partial(workbench.submit, generation, sampled, partial(setitem, state, "request_id"))
        dialect = ChatDialect(body, fingerprint)
        headers = route_headers(generation)
        return Answer(begin, dialect, live, streamed=bool(body.stream), ping=ping, headers=headers)

    return create_chat_completion


def route_headers(request: Generation) -> Headers:
    """What tells a client which model was chosen for it, and why."""
    if not request.route:
        return ()
    model = quote(request.model, safe="/:@ ")
    return (b"x-benchtop-model", model.encode()), (b"x-benchtop-route", request.route.encode("ascii", "replace"))


# --- from the wire ---------------------------------------------------------------------------------------------------


def to_core(body: ChatRequest, defaults: Sampling, *, tenant: str = "", request_id: str = "") -> Generation:
    """The canonical request. Raises RequestError, which names the field, for what cannot be done."""
    _refuse_unsupported(body)
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Generation(
        model=body.model,
        prompt=Conversation(
            messages=tuple(_message(message, f"messages[{i}]") for i, message in enumerate(body.messages)),
            template_arguments=_template_arguments(body.chat_template_kwargs or {}),
        ),
        sampling=_sampling(body, defaults),
        max_tokens=_max_tokens(body),
        stop=stop,
        n=body.n or 1,
        ignore_eos=bool(body.ignore_eos),
        cache=body.cache_prompt is not False,
        tenant=tenant,
        request_id=request_id,
    )


def _refuse_unsupported(body: ChatRequest) -> None:
    if body.tools:
        raise _unsupported("tools", "tools")
    if body.functions:
        raise _unsupported("functions", "functions")
    if _says(body.tool_choice) not in (None, "none", "auto"):
        raise _unsupported("tool_choice", "a tool choice other than `none` and `auto`")
    if _says(body.function_call) not in (None, "none", "auto"):
        raise _unsupported("function_call", "a function call other than `none` and `auto`")
    if body.response_format is not None and body.response_format.type != "text":
        raise _unsupported("response_format", "a response format other than `text`")
    if any(modality != "text" for modality in body.modalities or ()):
        raise _unsupported("modalities", "a modality other than `text`")
    for name, value in (("audio", body.audio), ("web_search_options", body.web_search_options)):
        if _says(value) is not None:
            raise _unsupported(name, name.replace("_", " "))


def _unsupported(field: str, what: str) -> RequestError:
    return RequestError(f"This server does not support {what} yet; send the request without `{field}`.", field)


def _says(value: Unsupported) -> str | None:
    """What an unsupported field holds: None for nothing, its text for a string, "..." for anything larger."""
    if isinstance(value, UnsetType) or bytes(value).strip() == b"null":
        return None
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "..."


def _message(message: ChatMessage, place: str) -> Message:
    if message.tool_calls:
        raise _unsupported(f"{place}.tool_calls", "tool calls")
    for name, value in (("function_call", message.function_call), ("audio", message.audio)):
        if _says(value) is not None:
            raise _unsupported(f"{place}.{name}", name.replace("_", " "))
    return Message(role=message.role, parts=tuple(_parts(message, place)), name=message.name)


def _parts(message: ChatMessage, place: str) -> Iterator[CoreText]:
    if message.content is None:
        if message.refusal:
            yield CoreText(message.refusal)
        return
    if isinstance(message.content, str):
        yield CoreText(message.content)
        return
    for i, part in enumerate(message.content):
        match part:
            case TextPart(text=text) | RefusalPart(refusal=text):
                yield CoreText(text)
            case _:
                kind = str(part.__struct_config__.tag)
                raise RequestError(
                    f"The model takes text alone, so a content part of type `{kind}` cannot be used.",
                    f"{place}.content[{i}]",
                )


def _template_arguments(given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    for name in given:
        if name in RESERVED:
            raise RequestError(
                f"`chat_template_kwargs` may not set `{name}`, which the server sets itself.",
                f"chat_template_kwargs.{name}",
            )
        if not name.isidentifier():
            raise RequestError(
                f"`chat_template_kwargs` has {name[:64]!r}, which is no name for a template's variable.",
                "chat_template_kwargs",
            )
    return dict(given)


def _max_tokens(body: ChatRequest) -> int | None:
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise RequestError(
            f"`max_tokens` is {old} and `max_completion_tokens` is {new}; send one of them.", "max_completion_tokens"
        )
    return new if new is not None else old


def _sampling(body: ChatRequest, defaults: Sampling) -> Sampling:
    """The model's recommended sampling, with what the client said in its place."""
    given: dict[str, float | None] = {name: getattr(body, name) for name in NEUTRAL_SAMPLING}
    changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if body.top_k is not None:
        changes["top_k"] = max(body.top_k, 0)
    if body.logit_bias is not None:
        changes["logit_bias"] = tuple(_biases(body.logit_bias))
    if body.top_logprobs and not body.logprobs:
        raise RequestError("`top_logprobs` needs `logprobs` to be true.", "top_logprobs")
    if body.logprobs:
        changes["logprobs"] = body.top_logprobs or 0
    return replace(defaults, **changes)


def _biases(biases: Mapping[str, float]) -> Iterator[tuple[int, float]]:
    for token, bias in biases.items():
        # The length keeps int() from the digits of a novel; no vocabulary has ids of ten digits.
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise RequestError(f"`logit_bias` maps token ids to numbers; {token[:32]!r} is no token id.", "logit_bias")
        yield int(token), bias


# --- to the wire -----------------------------------------------------------------------------------------------------


class ChatDialect:
    """Writes one request's events as `chat.completion.chunk` frames, or its reply as one `chat.completion`.

    A chunk of plain text is the hot path: all of it but the text is encoded once for each choice.
    """

    def __init__(self, body: ChatRequest, fingerprint: str) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.over = False
        self._model = body.model
        self._fingerprint = fingerprint
        self._choices = body.n or 1
        self._logprobs = bool(body.logprobs)
        self._usage = bool(body.stream_options and body.stream_options.include_usage)
        self._frames: dict[int, tuple[bytes, bytes]] = {}
        self._finished: dict[int, Usage] = {}

    def write(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta(index=index, text=text, logprobs=()):
                    if text:
                        before, after = self._frames.get(index) or self._begin(index, out)
                        out += (before, ENCODER.encode(text), after)
                case TextDelta(index=index):
                    self._begin(index, out)
                    delta = Delta(content=event.text)
                    out.append(self._chunk(ChunkChoice(index, delta, _logprobs(event.logprobs))))
                case Finished(index=index):
                    self._begin(index, out)
                    out += self._finish(event)
                case Failed(error=error):
                    self.over = True
                    out += (frame(refusal(error).encode()), DONE)
        return b"".join(out)

    def reply(self, events: Sequence[Event]) -> bytes:
        reply = fold(events)
        first = min((event for event in events if isinstance(event, Finished)), key=lambda event: event.index)
        return ENCODER.encode(
            ChatCompletion(
                id=self.id,
                created=self.created,
                model=self._model,
                system_fingerprint=self._fingerprint,
                choices=[
                    ChatChoice(
                        index=choice.index,
                        message=AssistantMessage(content=choice.text),
                        finish_reason=FINISH[choice.reason],
                        logprobs=_logprobs(choice.logprobs) if self._logprobs else None,
                    )
                    for choice in reply.choices
                ],
                usage=wire_usage(reply.usage),
                timings=wire_timings(first),
            )
        )

    def _begin(self, index: int, out: list[bytes]) -> tuple[bytes, bytes]:
        """The bytes around a choice's text; its first chunk, which carries the role, is written if it was not yet."""
        if index not in self._frames:
            out.append(self._chunk(ChunkChoice(index, Delta(role="assistant", content=""))))
            mark = "\N{SYMBOL FOR NULL}"
            before, after = self._chunk(ChunkChoice(index, Delta(content=mark))).rsplit(ENCODER.encode(mark), 1)
            self._frames[index] = before, after
        return self._frames[index]

    def _finish(self, event: Finished) -> Iterator[bytes]:
        self._finished[event.index] = event.usage
        last = ChunkChoice(event.index, Delta(), finish_reason=FINISH[event.reason])
        yield self._chunk(last, wire_timings(event))
        if len(self._finished) < self._choices:
            return
        self.over = True
        if self._usage:
            total = total_usage(self._finished[index] for index in sorted(self._finished))
            yield frame(ENCODER.encode(self._with([], usage=wire_usage(total))))
        yield DONE

    def _chunk(self, choice: ChunkChoice, timings: WireTimings | UnsetType = UNSET) -> bytes:
        return frame(ENCODER.encode(self._with([choice], usage=None if self._usage else UNSET, timings=timings)))

    def _with(
        self,
        choices: list[ChunkChoice],
        usage: WireUsage | UnsetType | None = UNSET,
        timings: WireTimings | UnsetType = UNSET,
    ) -> ChatChunk:
        return ChatChunk(
            id=self.id,
            created=self.created,
            model=self._model,
            system_fingerprint=self._fingerprint,
            choices=choices,
            usage=usage,
            timings=timings,
        )


def wire_usage(usage: Usage) -> WireUsage:
    return WireUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptDetails(usage.cached_tokens),
        completion_tokens_details=CompletionDetails(usage.reasoning_tokens),
    )


def wire_timings(choice: Finished) -> WireTimings:
    usage, timings = choice.usage, choice.timings
    computed = usage.prompt_tokens - usage.cached_tokens
    return WireTimings(
        prompt_n=computed,
        cache_n=usage.cached_tokens,
        prompt_ms=_milliseconds(timings.prefill),
        prompt_per_second=round(timings.prefill_rate(computed), 2),
        predicted_n=usage.completion_tokens,
        predicted_ms=_milliseconds(timings.decode),
        predicted_per_second=round(timings.decode_rate(usage.completion_tokens), 2),
        queue_ms=_milliseconds(timings.queued),
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _logprobs(logprobs: Iterable[TokenLogprob]) -> ChoiceLogprobs:
    return ChoiceLogprobs(
        [
            WireLogprob(
                token=each.token,
                logprob=_finite(each.logprob),
                bytes=list(each.data),
                top_logprobs=[TopLogprob(top.token, _finite(top.logprob), list(top.data)) for top in each.top],
            )
            for each in logprobs
        ]
    )


def _finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI's own floor stands for it."""
    return max(logprob, -9999.0)
