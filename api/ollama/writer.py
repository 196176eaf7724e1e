"""From events to answers of Ollama's API: lines of JSON as a stream, or one document."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from api.ollama.durations import count_nanoseconds
from api.ollama.errors import OLLAMA_ERRORS
from api.ollama.past import encode_past
from api.ollama.replies import (
    ChatLine,
    GenerateLine,
    OllamaLine,
    PlaceLogprob,
    SpokenMessage,
    TokenChances,
    WholeCall,
    WholeFunction,
)
from api.openai.accounts import make_finite
from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    fold_events,
)
from core.requests import Message, Role, TextPart, ToolCall

MEDIA: Final = b"application/x-ndjson"
PING: Final = b" "
"""Blanks before a document are no part of it: clients that read line by line do not notice them."""
DONE_REASONS: Final = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.TOOL_CALLS: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT: "length",
    FinishReason.LOOP: "length",
}
ENCODER: Final = msgspec.json.Encoder()
WHEN: Final = "\N{SYMBOL FOR START OF HEADING}"
MARK: Final = "\N{SYMBOL FOR NULL}"
"""Stand for a time and a text in lines that are made to be cut there."""
NO_ARGUMENTS: Final = Raw(b"{}")


def write_time(seconds: float) -> str:
    """A moment in seconds since the epoch, as Go writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


class Spoken(Struct, frozen=True, kw_only=True):
    """What one line tells of an answer."""

    text: str = ""
    thinking: str = ""
    calls: tuple[tuple[int, ToolCall], ...] = ()
    """With their numbers."""
    logprobs: tuple[TokenLogprob, ...] = ()
    end: Finished | None = None


class OllamaDialect(ABC):
    """Writes one request's events. Lines of words and of thoughts are the hot path: all of them is encoded once, but
    the text and the time, which is that of the step."""

    def __init__(self, model: str, began: float) -> None:
        """`model`: as the client named it; `began`: when its request came, as `time.perf_counter` has it."""
        self.over = False
        self._model = model
        self._began = began
        self._met = began
        self._words = self._cut_line(Spoken(text=MARK))
        self._thoughts = self._cut_line(Spoken(thinking=MARK))
        self._calls: dict[int, tuple[CallBegun, list[str]]] = {}
        self._kept: list[str] | None = None
        """The answer's words, where they are needed once more."""

    def meet(self) -> None:
        """The model is there."""
        self._met = time.perf_counter()

    @abstractmethod
    def make_line(self, spoken: Spoken, created_at: str) -> OllamaLine:
        """What is said, without its log-probabilities, and without what only the last line tells."""

    def write(self, events: Sequence[Event]) -> bytes:
        now = write_time(time.time())
        stamp = now.encode()
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta(text=text, logprobs=()):
                    if text:
                        if self._kept is not None:
                            self._kept.append(text)
                        head, between, tail = self._words
                        out += (head, stamp, between, ENCODER.encode(text), tail)
                case ReasoningDelta(text=text):
                    if text:
                        head, between, tail = self._thoughts
                        out += (head, stamp, between, ENCODER.encode(text), tail)
                case _:
                    self._write_other(event, now, out)
        return b"".join(out)

    def _write_other(self, event: Event, now: str, out: list[bytes]) -> None:
        match event:
            case TextDelta(text=text, logprobs=logprobs):
                if self._kept is not None:
                    self._kept.append(text)
                out.append(self._encode_line(Spoken(text=text, logprobs=logprobs), now))
            case CallBegun(call=call):
                self._calls[call] = event, []
            case CallArguments(call=call, text=text):
                self._calls[call][1].append(text)
            case CallEnded(call=call, whole=whole):
                begun, pieces = self._calls[call]
                told = ToolCall(begun.id, begun.name, "".join(pieces))
                # Clients run a call that they are told of, so one that is cut is words.
                spoken = Spoken(calls=((call, told),)) if whole else Spoken(text=told.arguments)
                out.append(self._encode_line(spoken, now))
            case Finished():
                self.over = True
                out.append(self._encode_line(Spoken(end=event), now))
            case Failed(error=error):
                self.over = True
                out.append(OLLAMA_ERRORS.write(error, "").body + b"\n")

    def reply(self, events: Sequence[Event]) -> bytes:
        (choice,) = fold_events(events).choices
        if self._kept is not None:
            self._kept.append(choice.text)
        broken = {event.call for event in events if isinstance(event, CallEnded) and not event.whole}
        calls = tuple(enumerate(choice.tool_calls))
        spoken = Spoken(
            text="".join((choice.text, *(call.arguments for number, call in calls if number in broken))),
            thinking=choice.reasoning,
            calls=tuple((number, call) for number, call in calls if number not in broken),
            logprobs=choice.logprobs,
            end=next(event for event in events if isinstance(event, Finished)),
        )
        return ENCODER.encode(self._build_line(spoken, write_time(time.time())))

    def say_nothing(self, reason: str) -> bytes:
        """The reply to a request that asks its model nothing."""
        line = self.make_line(Spoken(), write_time(time.time()))
        took = count_nanoseconds(time.perf_counter() - self._began)
        return ENCODER.encode(replace(line, done=True, done_reason=reason, total_duration=took, load_duration=took))

    def _encode_line(self, spoken: Spoken, now: str) -> bytes:
        return ENCODER.encode(self._build_line(spoken, now)) + b"\n"

    def _build_line(self, spoken: Spoken, now: str) -> OllamaLine:
        line = self.make_line(spoken, now)
        if spoken.logprobs:
            line = replace(line, logprobs=[_tell_place(each) for each in spoken.logprobs])
        if spoken.end is None:
            return line
        usage, timings = spoken.end.usage, spoken.end.timings
        return replace(
            line,
            done=True,
            done_reason=DONE_REASONS[spoken.end.reason],
            total_duration=count_nanoseconds(time.perf_counter() - self._began),
            load_duration=count_nanoseconds(self._met - self._began),
            prompt_eval_count=usage.prompt_tokens,
            prompt_eval_duration=count_nanoseconds(timings.prefill),
            eval_count=usage.completion_tokens,
            # Clients divide by it; of a single token there is nothing from the first to the last.
            eval_duration=max(1, count_nanoseconds(timings.decode)),
        )

    def _cut_line(self, spoken: Spoken) -> tuple[bytes, bytes, bytes]:
        """What stands before the time, between that and the text, and behind."""
        head, rest = self._encode_line(spoken, WHEN).split(WHEN.encode(), 1)
        between, tail = rest.rsplit(ENCODER.encode(MARK), 1)
        return head, between, tail


class ChatLines(OllamaDialect):
    """Of POST /api/chat."""

    def make_line(self, spoken: Spoken, created_at: str) -> OllamaLine:
        calls = [_write_call(number, call) for number, call in spoken.calls]
        message = SpokenMessage(content=spoken.text, thinking=spoken.thinking or UNSET, tool_calls=calls or UNSET)
        return ChatLine(model=self._model, created_at=created_at, message=message)


class GenerateLines(OllamaDialect):
    """Of POST /api/generate."""

    def __init__(self, model: str, began: float, past: Sequence[Message] | None) -> None:
        """`past`: the conversation that the answer ends; None where there is none to be gone on with."""
        self._past = past
        super().__init__(model, began)
        if past is not None:
            self._kept = []

    def make_line(self, spoken: Spoken, created_at: str) -> OllamaLine:
        line = GenerateLine(
            model=self._model, created_at=created_at, response=spoken.text, thinking=spoken.thinking or UNSET
        )
        if spoken.end is None or self._past is None:
            return line
        said = Message(Role.ASSISTANT, (TextPart("".join(self._kept or ())),))
        return replace(line, context=encode_past([*self._past, said]))


def _write_call(number: int, call: ToolCall) -> WholeCall:
    return WholeCall(call.id, WholeFunction(index=number, name=call.name, arguments=_read_object(call.arguments)))


def _read_object(arguments: str) -> Raw:
    """A call's arguments. Those that were cut off, as the answer came to its limit, are none."""
    try:
        msgspec.json.decode(arguments or "{}", type=dict[str, Raw])
    except (msgspec.MsgspecError, UnicodeError):
        return NO_ARGUMENTS
    return Raw((arguments or "{}").encode())


def _tell_place(drawn: TokenLogprob) -> PlaceLogprob:
    return PlaceLogprob(
        token=drawn.token,
        logprob=make_finite(drawn.logprob),
        bytes=list(drawn.data),
        top_logprobs=list(_tell_likeliest(drawn.top)) if drawn.top else UNSET,
    )


def _tell_likeliest(top: Iterable[TokenLogprob]) -> Iterable[TokenChances]:
    for each in top:
        yield TokenChances(token=each.token, logprob=make_finite(each.logprob), bytes=list(each.data))
