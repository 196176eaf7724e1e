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
from api.openai.wire import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChatDelta,
    ChatRequest,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionDetails,
    PromptDetails,
    WireLogprob,
    WireProgress,
    WireTimings,
    WireTopLogprob,
    WireUsage,
)
from core.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    Prefilled,
    TextDelta,
    Timings,
    TokenLogprob,
    Usage,
    fold_events,
    sum_usage,
)

FINISH: Final = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.CONTEXT: "length",
    FinishReason.LOOP: "length",
}

ENCODER = msgspec.json.Encoder()


class ChatDialect:
    """Writes one request's events as `chat.completion.chunk` frames, or its reply as one `chat.completion`.

    A chunk of plain text is the hot path: all of it but the text is encoded once for each choice. Chunks that tell
    usage or timings so far are encoded one by one.
    """

    def __init__(self, body: ChatRequest, fingerprint: str, model: str | None = None) -> None:
        """`model`: what the reply calls it, where that is not as the request has it."""
        options = body.stream_options
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.over = False
        self._model = model or body.model or ""
        self._fingerprint = fingerprint
        self._choices = body.n or 1
        self._logprobs = bool(body.logprobs)
        self._usage = bool(options and options.include_usage)
        self._running_usage = bool(options and options.continuous_usage_stats)
        self._running_timings = bool(body.timings_per_token)
        self._frames: dict[int, tuple[bytes, bytes]] = {}
        self._used: dict[int, Usage] = {}
        """By each choice, as far as was told."""
        self._finished: dict[int, Finished] = {}

    def write(self, events: Sequence[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta(index=index, text=text, logprobs=(), so_far=None):
                    if text:
                        before, after = self._frames.get(index) or self._begin(index, out)
                        out += (before, ENCODER.encode(text), after)
                case TextDelta():
                    self._write_text(event, out)
                case Prefilled(index=index):
                    self._begin(index, out, event)
                    out.append(self._progress(event))
                case Finished(index=index):
                    self._begin(index, out)
                    out += self._finish(event)
                case Failed(error=error):
                    self.over = True
                    out += (frame_event(translate_error(error).encode()), DONE)
        return b"".join(out)

    def reply(self, events: Sequence[Event]) -> bytes:
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
                        message=AssistantMessage(content=choice.text),
                        finish_reason=FINISH[choice.reason],
                        stop_reason=name_stop_reason(choice.reason),
                        logprobs=_logprobs(choice.logprobs) if self._logprobs else None,
                    )
                    for choice in reply.choices
                ],
                usage=translate_usage(reply.usage),
                timings=translate_timings(first.usage, first.timings),
            )
        )

    def _write_text(self, event: TextDelta, out: list[bytes]) -> None:
        """A chunk that carries more than text. With usage so far, one without text is written as well."""
        if event.so_far is not None and event.index not in self._used:
            # The chunk that begins a choice tells what the prompt has taken.
            self._used[event.index] = msgspec.structs.replace(event.so_far.usage, completion_tokens=0)
        self._begin(event.index, out)
        timings: WireTimings | UnsetType = UNSET
        if event.so_far is not None:
            self._used[event.index] = event.so_far.usage
            if self._running_timings:
                timings = translate_timings(event.so_far.usage, event.so_far.timings)
        logprobs = _logprobs(event.logprobs) if self._logprobs else None
        out.append(self._chunk(ChunkChoice(event.index, ChatDelta(content=event.text), logprobs), timings))

    def _begin(self, index: int, out: list[bytes], prefilled: Prefilled | None = None) -> tuple[bytes, bytes]:
        """The bytes around a choice's text; its first chunk, which carries the role, is written if it was not yet."""
        if index not in self._frames:
            if prefilled is not None:
                self._used.setdefault(index, Usage(prefilled.total, prefilled.cached))
            out.append(self._chunk(ChunkChoice(index, ChatDelta(role="assistant", content=""))))
            mark = "\N{SYMBOL FOR NULL}"
            before, after = self._chunk(ChunkChoice(index, ChatDelta(content=mark))).rsplit(ENCODER.encode(mark), 1)
            self._frames[index] = before, after
        return self._frames[index]

    def _progress(self, event: Prefilled) -> bytes:
        chunk = self._with(
            [ChunkChoice(event.index, ChatDelta())], usage=self._usage_now(), progress=translate_progress(event)
        )
        return frame_event(ENCODER.encode(chunk))

    def _finish(self, event: Finished) -> Iterator[bytes]:
        self._finished[event.index] = event
        self._used[event.index] = event.usage
        stop_reason = name_stop_reason(event.reason)
        last = ChunkChoice(event.index, ChatDelta(), finish_reason=FINISH[event.reason], stop_reason=stop_reason)
        yield self._chunk(last, translate_timings(event.usage, event.timings))
        if len(self._finished) < self._choices:
            return
        self.over = True
        if self._usage:
            first = self._finished[min(self._finished)]
            whole = self._with([], usage=self._total(), timings=translate_timings(first.usage, first.timings))
            yield frame_event(ENCODER.encode(whole))
        yield DONE

    def _total(self) -> WireUsage:
        return translate_usage(sum_usage(self._used[index] for index in sorted(self._used)))

    def _usage_now(self) -> WireUsage | UnsetType | None:
        """What a chunk says of usage; null where it is only told at the end, or not known yet."""
        if self._running_usage and self._used:
            return self._total()
        return None if self._usage or self._running_usage else UNSET

    def _chunk(self, choice: ChunkChoice, timings: WireTimings | UnsetType = UNSET) -> bytes:
        return frame_event(ENCODER.encode(self._with([choice], usage=self._usage_now(), timings=timings)))

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


def name_stop_reason(reason: FinishReason) -> str | UnsetType:
    """What ended an answer, where `finish_reason` has no word for it."""
    return reason.value if reason is FinishReason.LOOP else UNSET


def translate_usage(usage: Usage) -> WireUsage:
    return WireUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptDetails(usage.cached_tokens),
        completion_tokens_details=CompletionDetails(usage.reasoning_tokens),
    )


def translate_progress(event: Prefilled) -> WireProgress:
    return WireProgress(
        total=event.total, cache=event.cached, processed=event.computed, time_ms=_milliseconds(event.seconds)
    )


def translate_timings(usage: Usage, timings: Timings) -> WireTimings:
    """Of one choice."""
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
                logprob=make_finite(each.logprob),
                bytes=list(each.data),
                top_logprobs=[WireTopLogprob(top.token, make_finite(top.logprob), list(top.data)) for top in each.top],
            )
            for each in logprobs
        ]
    )


def make_finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI's own floor stands for it."""
    return max(logprob, -9999.0)
