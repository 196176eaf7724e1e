"""From events to chat completions: whole ones, or chunks of a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from api.http.answer import DONE, frame_event
from api.http.errors import translate_error
from api.openai.accounts import (
    AnswerAccount,
    make_finite,
    name_stop_reason,
    translate_progress,
    translate_timings,
    translate_usage,
)
from api.openai.custom_input import CustomInput, read_custom_input
from api.openai.legacy_thoughts import LEGACY, ThoughtsInText
from api.openai.reasoning_fields import is_reasoning_hidden
from api.openai.tools_wire import CustomChatTool
from api.openai.wire import (
    AssistantMessage,
    ChatCallDelta,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChatRequest,
    ChoiceLogprobs,
    ChunkChoice,
    CustomDelta,
    FunctionDelta,
    ReplyCall,
    ReplyCustom,
    ReplyFunction,
    WireLogprob,
    WireProgress,
    WireTimings,
    WireTopLogprob,
    WireUsage,
)
from core.chat.openai_body import FINISH_REASONS
from core.events import (
    CallArguments,
    CallBegun,
    CallEnded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Prefilled,
    ReasoningDelta,
    ReplyChoice,
    TextDelta,
    TokenLogprob,
    Usage,
    fold_events,
)
from core.requests import ToolCall

ENCODER = msgspec.json.Encoder()
MARK: Final = "\N{SYMBOL FOR NULL}"
"""Stands for text in chunks that are made to be cut there."""


class ChatDialect:
    """Writes one request's events as `chat.completion.chunk` frames, or its reply as one `chat.completion`.

    Chunks of words, of thoughts and of arguments are the hot path: all of them but the text is encoded once for each
    choice and call. Chunks that tell usage or timings so far are encoded one by one.
    """

    def __init__(self, body: ChatRequest, fingerprint: str, model: str | None = None) -> None:
        """`model`: what the reply calls it, where that is not as the request has it."""
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.over = False
        self._model = model or body.model or ""
        self._fingerprint = fingerprint
        self._account = AnswerAccount(body)
        self._logprobs = bool(body.logprobs)
        self._thoughts = not is_reasoning_hidden(body)
        self._legacy = ThoughtsInText() if body.reasoning_format == LEGACY else None
        self._old = bool(body.functions)
        """Whether calls are told in the form before there were tools."""
        self._customs = frozenset(tool.custom.name for tool in body.tools or () if isinstance(tool, CustomChatTool))
        self._inputs: dict[tuple[int, int], CustomInput] = {}
        """Of calls of custom tools, by choice and call."""
        self._begun: set[int] = set()
        self._words: dict[int, tuple[bytes, ...]] = {}
        """The bytes around a choice's text, once there is some; so are the next two."""
        self._thinking: dict[int, tuple[bytes, ...]] = {}
        self._arguments: dict[tuple[int, int], tuple[bytes, ...]] = {}

    def write(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        if self._legacy is not None:
            events = self._legacy.add(events)
        for event in events:
            match event:
                case TextDelta(index=index, text=text, logprobs=(), so_far=None):
                    if text:
                        before, after = self._words.get(index) or self._frame_words(index, out)
                        out += (before, ENCODER.encode(text), after)
                case ReasoningDelta(index=index, text=text, so_far=None):
                    if text and self._thoughts:
                        before, between, after = self._thinking.get(index) or self._frame_thoughts(index, out)
                        encoded = ENCODER.encode(text)
                        out += (before, encoded, between, encoded, after)
                case CallArguments(index=index, call=call, text=text, so_far=None):
                    if self._inputs:
                        text = self._unwrap(index, call, text)
                    if text:
                        before, after = self._arguments.get((index, call)) or self._frame_arguments(index, call)
                        out += (before, ENCODER.encode(text), after)
                case _:
                    self._write_other(event, out)
        return b"".join(out)

    def _write_other(self, event: Event, out: list[bytes]) -> None:
        match event:
            case TextDelta(text=text):
                self._write_delta(event, ChatDelta(content=text), out)
            case ReasoningDelta(text=text):
                told = ChatDelta(reasoning_content=text, reasoning=text) if self._thoughts else ChatDelta()
                self._write_delta(event, told, out)
            case CallArguments(index=index, call=call, text=text):
                self._write_delta(event, self._more_of_call(index, call, self._unwrap(index, call, text)), out)
            case CallBegun(index=index, call=call, id=name, name=function):
                self._begin(index, out)
                out.append(self._chunk(ChunkChoice(index, self._begin_call(index, call, name, function))))
            case CallEnded(index=index, call=call):
                rest, _ = self._inputs[index, call].end() if (index, call) in self._inputs else ("", "")
                if rest:
                    out.append(self._chunk(ChunkChoice(index, self._more_of_call(index, call, rest))))
            case Prefilled(index=index):
                self._begin(index, out, event)
                out.append(self._progress(event))
            case Finished(index=index):
                self._begin(index, out)
                out += self._finish(event)
            case Failed(error=error):
                self.over = True
                out += (frame_event(translate_error(error).encode()), DONE)

    def reply(self, events: Sequence[Event]) -> bytes:
        if self._legacy is not None:
            events = self._legacy.add(events)
        reply = fold_events(events)
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
                        message=self._message(choice),
                        finish_reason=self._name_reason(choice.reason),
                        stop_reason=name_stop_reason(choice.reason),
                        logprobs=_logprobs(choice.logprobs) if self._logprobs else None,
                    )
                    for choice in reply.choices
                ],
                usage=translate_usage(reply.usage),
                timings=translate_timings(first.usage, first.timings),
            )
        )

    def _message(self, choice: ReplyChoice) -> AssistantMessage:
        thought = choice.reasoning if choice.reasoning and self._thoughts else UNSET
        calls = [self._reply_call(call) for call in choice.tool_calls]
        return AssistantMessage(
            content=choice.text if choice.text or not calls else None,
            reasoning_content=thought,
            reasoning=thought,
            tool_calls=calls if calls and not self._old else UNSET,
            function_call=calls[0].function if calls and self._old else UNSET,
        )

    def _name_reason(self, reason: FinishReason) -> str:
        return "function_call" if self._old and reason is FinishReason.TOOL_CALLS else FINISH_REASONS[reason]

    def _reply_call(self, call: ToolCall) -> ReplyCall:
        if call.name in self._customs:
            return ReplyCall(
                id=call.id, type="custom", custom=ReplyCustom(call.name, read_custom_input(call.arguments))
            )
        return ReplyCall(id=call.id, function=ReplyFunction(call.name, call.arguments))

    def _begin_call(self, index: int, call: int, name: str, function: str) -> ChatDelta:
        """`name`: the call's id."""
        if self._old:
            return ChatDelta(function_call=FunctionDelta(function, ""))
        if function in self._customs:
            self._inputs[index, call] = CustomInput()
            begun = ChatCallDelta(index=call, id=name, type="custom", custom=CustomDelta(function, ""))
        else:
            begun = ChatCallDelta(index=call, id=name, type="function", function=FunctionDelta(function, ""))
        return ChatDelta(tool_calls=[begun])

    def _more_of_call(self, index: int, call: int, text: str) -> ChatDelta:
        if self._old:
            return ChatDelta(function_call=FunctionDelta(arguments=text))
        if (index, call) in self._inputs:
            return ChatDelta(tool_calls=[ChatCallDelta(index=call, custom=CustomDelta(input=text))])
        return ChatDelta(tool_calls=[ChatCallDelta(index=call, function=FunctionDelta(arguments=text))])

    def _unwrap(self, index: int, call: int, arguments: str) -> str:
        """What more of a call's arguments tells of a custom tool's input; a function's stay as they are."""
        known = self._inputs.get((index, call))
        return arguments if known is None else known.add(arguments)

    def _write_delta(
        self, event: TextDelta | ReasoningDelta | CallArguments, delta: ChatDelta, out: list[bytes]
    ) -> None:
        """A chunk that carries more than text. With usage so far, one without text is written as well."""
        if event.so_far is not None:
            # The chunk that begins a choice tells what the prompt has taken.
            self._account.begin(event.index, event.so_far.usage)
        self._begin(event.index, out)
        timings = self._account.advance(event.index, event.so_far)
        logprobs = _logprobs(event.logprobs) if self._logprobs and isinstance(event, TextDelta) else None
        out.append(self._chunk(ChunkChoice(event.index, delta, logprobs), timings))

    def _begin(self, index: int, out: list[bytes], prefilled: Prefilled | None = None) -> None:
        """A choice's first chunk, which carries the role and no words, is written if it was not yet."""
        if index not in self._begun:
            self._begun.add(index)
            if prefilled is not None:
                self._account.begin(index, Usage(prefilled.total, prefilled.cached))
            out.append(self._chunk(ChunkChoice(index, ChatDelta(role="assistant", content=None))))

    def _frame_words(self, index: int, out: list[bytes]) -> tuple[bytes, ...]:
        self._begin(index, out)
        self._words[index] = framed = self._frame(index, ChatDelta(content=MARK))
        return framed

    def _frame_thoughts(self, index: int, out: list[bytes]) -> tuple[bytes, ...]:
        self._begin(index, out)
        self._thinking[index] = framed = self._frame(index, ChatDelta(reasoning_content=MARK, reasoning=MARK), 2)
        return framed

    def _frame_arguments(self, index: int, call: int) -> tuple[bytes, ...]:
        self._arguments[index, call] = framed = self._frame(index, self._more_of_call(index, call, MARK))
        return framed

    def _frame(self, index: int, delta: ChatDelta, marks: int = 1) -> tuple[bytes, ...]:
        """The bytes before, between and after the marks of a chunk. Names before them may hold the same text."""
        return tuple(self._chunk(ChunkChoice(index, delta)).rsplit(ENCODER.encode(MARK), marks))

    def _progress(self, event: Prefilled) -> bytes:
        chunk = self._with(
            [ChunkChoice(event.index, ChatDelta())],
            usage=self._account.tell_usage(),
            progress=translate_progress(event),
        )
        return frame_event(ENCODER.encode(chunk))

    def _finish(self, event: Finished) -> Iterator[bytes]:
        timings = self._account.end(event)
        stop_reason = name_stop_reason(event.reason)
        last = ChunkChoice(
            event.index, ChatDelta(), finish_reason=self._name_reason(event.reason), stop_reason=stop_reason
        )
        yield self._chunk(last, timings)
        if not self._account.complete:
            return
        self.over = True
        if self._account.wanted:
            whole = self._with([], usage=self._account.tell_total(), timings=self._account.tell_timings())
            yield frame_event(ENCODER.encode(whole))
        yield DONE

    def _chunk(self, choice: ChunkChoice, timings: WireTimings | UnsetType = UNSET) -> bytes:
        return frame_event(ENCODER.encode(self._with([choice], usage=self._account.tell_usage(), timings=timings)))

    def _with(
        self,
        choices: list[ChunkChoice],
        usage: WireUsage | UnsetType | None = UNSET,
        timings: WireTimings | UnsetType = UNSET,
        progress: WireProgress | UnsetType = UNSET,
    ) -> ChatChunk:
        return ChatChunk(
            id=self.id,
            created=self.created,
            model=self._model,
            system_fingerprint=self._fingerprint,
            choices=choices,
            usage=usage,
            timings=timings,
            prompt_progress=progress,
        )


def _logprobs(logprobs: Iterable[TokenLogprob]) -> ChoiceLogprobs:
    return ChoiceLogprobs(
        [
            WireLogprob(
                token=each.token,
                logprob=make_finite(each.logprob),
                bytes=list(each.data),
                top_logprobs=[WireTopLogprob(top.token, make_finite(top.logprob), list(top.data)) for top in each.top],
            )
            for each in logprobs
        ]
    )
