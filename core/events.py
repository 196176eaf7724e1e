"""Canonical output: what a generation yields, whatever the dialect it was asked in.

A stream is a run of these events; an unstreamed reply is their fold (`fold_events`), so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from core.errors import BenchtopError
from core.requests import ToolCall


class FinishReason(Enum):
    STOP = "stop"
    """The model ended its turn."""
    STOP_SEQUENCE = "stop_sequence"
    """One of the request's stop strings came up."""
    LENGTH = "length"
    """`max_tokens` was reached."""
    CONTEXT = "context"
    """The context is full."""
    LOOP = "loop"
    """The same tokens came again and again, and the loop guard ended it."""
    TOOL_CALLS = "tool_calls"
    """The model ended its turn, and asked for tools to be called."""


class TokenLogprob(Struct, frozen=True):
    """A token with the natural logarithm of its probability under the model's own distribution, before sampling."""

    token: str
    data: bytes
    """The token's bytes; `token` is their decoding, with replacement characters for partial characters."""
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens here, the best first."""
    id: int | None = None
    """Of the model's vocabulary; None where a server elsewhere does not tell."""


class Usage(Struct, frozen=True):
    """Tokens, of one choice or summed over a request's choices (the prompt is counted once)."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens whose KV state came from the prefix cache and was not computed again."""
    completion_tokens: int = 0
    reasoning_tokens: int = 0


class Timings(Struct, frozen=True):
    """Seconds a choice spent in each phase."""

    queued: float = 0.0
    prefill: float = 0.0
    """From leaving the queue to the first token."""
    decode: float = 0.0
    """From the first token to the last."""

    def prefill_rate(self, tokens: int) -> float:
        """Prompt tokens computed a second; zero when nothing was measured."""
        return tokens / self.prefill if self.prefill > 0 else 0.0

    def decode_rate(self, completion_tokens: int) -> float:
        """Tokens a second after the first; zero when there was no second token."""
        return (completion_tokens - 1) / self.decode if self.decode > 0 and completion_tokens > 1 else 0.0


class SoFar(Struct, frozen=True):
    """What a choice has taken up to now."""

    usage: Usage
    timings: Timings


class Prefilled(Struct, frozen=True, tag="prefilled"):
    """How far the prompt is computed; told of the first choice alone, for requests that ask for it."""

    index: int
    total: int
    """Tokens of the prompt."""
    cached: int
    """Of those, the ones that the prefix cache had."""
    computed: int
    """Of those, the ones in the KV cache by now, cached ones too."""
    seconds: float
    """Since the request left the queue."""


class PromptScored(Struct, frozen=True, tag="prompt_scored"):
    """How likely the prompt's own tokens are; told of the first choice alone, before its text, for requests that ask
    for it."""

    index: int
    first: str
    """The text of the prompt's first token, which follows nothing and so has no probability."""
    logprobs: tuple[TokenLogprob, ...]
    """Of each token behind it."""


class TextDelta(Struct, frozen=True, tag="text"):
    """More text of a choice. `text` may be empty when only log-probabilities are due."""

    index: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    tokens: int = 1
    """Tokens drawn since the choice's event before; several when some of them gave no text yet."""
    so_far: SoFar | None = None
    """For requests that ask for it."""
    ids: tuple[int, ...] = ()
    """Of those tokens, for requests that ask for them."""


class ReasoningDelta(Struct, frozen=True, tag="reasoning"):
    """More of what the model thinks before it answers. Its tokens' log-probabilities are told to nobody."""

    index: int
    text: str
    tokens: int = 1
    """As of a `TextDelta`."""
    so_far: SoFar | None = None


class CallBegun(Struct, frozen=True, tag="call_begun"):
    """The model asks for a tool, whose arguments follow as they are written. A choice's calls come one after the
    other, numbered from zero."""

    index: int
    call: int
    id: str
    name: str
    """One of the request's tools."""


class CallArguments(Struct, frozen=True, tag="call_arguments"):
    """More of a call's arguments; all of them together are one JSON object, where the call ends as whole."""

    index: int
    call: int
    text: str
    tokens: int = 1
    """As of a `TextDelta`."""
    so_far: SoFar | None = None


class CallEnded(Struct, frozen=True, tag="call_ended"):
    """No more of a call will come. Each call that has begun ends, before its choice finishes."""

    index: int
    call: int
    whole: bool = True
    """Whether its arguments are one JSON object. Else the answer ended in their midst, by a limit as a rule, or they go
    on in a way that is none, which is handed out as the model wrote it."""


class Finished(Struct, frozen=True, tag="finished"):
    """The last event of a choice."""

    index: int
    reason: FinishReason
    usage: Usage
    timings: Timings
    stop: str | None = None
    """The stop string that ended it, for STOP_SEQUENCE."""


class Failed(Struct, frozen=True, tag="failed"):
    """The last event of a whole request that cannot go on; no choice of it will yield more."""

    error: BenchtopError


class Word(Struct, frozen=True):
    """A word of a transcript; times in seconds from the audio's beginning."""

    text: str
    """Without the space before it."""
    start: float
    end: float


class SpeechSegment(Struct, frozen=True):
    """A run of speech, about a sentence; times in seconds from the audio's beginning."""

    text: str
    """As the model wrote it, with the space before it where there is one."""
    start: float
    end: float
    tokens: tuple[int, ...] = ()
    logprob: float = 0.0
    """The mean of its tokens' log-probabilities."""
    words: tuple[Word, ...] = ()
    """None unless they were asked for."""
    silence: float | None = None
    """The chance that there was no speech where it was heard, from 0 to 1; None where the model does not tell."""


class Heard(Struct, frozen=True, tag="heard"):
    """How far a transcription has come, and what came of it since the event before."""

    index: int
    share: float
    """Of the audio, from 0 to 1."""
    duration: float
    """Seconds of audio in all."""
    language: str = ""
    """ISO 639-1; empty until it is known."""
    segments: tuple[SpeechSegment, ...] = ()


class Embedded(Struct, frozen=True, tag="embedded"):
    """The vectors of a request's inputs, in order."""

    index: int
    vectors: tuple[bytes, ...]
    """Little-endian float32."""


class Scored(Struct, frozen=True, tag="scored"):
    """How well each document of a request answers its query, in order."""

    index: int
    scores: tuple[float, ...]
    """As the model gives them; larger is better."""
    bounded: bool
    """Whether they are from 0 to 1; else they are logits, of which the logistic function makes that."""


CallEvent = CallBegun | CallArguments | CallEnded
Event = (
    Prefilled | PromptScored | TextDelta | ReasoningDelta | CallEvent | Heard | Embedded | Scored | Finished | Failed
)


class ReplyChoice(Struct, frozen=True):
    """One choice of an unstreamed reply."""

    index: int
    text: str
    reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] = ()
    stop: str | None = None
    ids: tuple[int, ...] = ()
    """Of its tokens, where the request asked for them."""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class Reply(Struct, frozen=True):
    """The fold of a request's events. `timings` are those of the first choice."""

    choices: tuple[ReplyChoice, ...]
    usage: Usage
    timings: Timings


def sum_usage(finished: Iterable[Usage]) -> Usage:
    """Usage of a request: completion tokens add up over its choices, the prompt counts once.

    Cached tokens are those of the first choice: the others share the first one's prompt within the request.
    """
    total: Usage | None = None
    for usage in finished:
        if total is None:
            total = usage
            continue
        total = replace(
            total,
            completion_tokens=total.completion_tokens + usage.completion_tokens,
            reasoning_tokens=total.reasoning_tokens + usage.reasoning_tokens,
        )
    return total or Usage()


def fold_events(events: Iterable[Event]) -> Reply:
    """The unstreamed reply; raises the error of a `Failed`."""
    choices: dict[int, _ChoiceFold] = {}
    ends: dict[int, Finished] = {}
    for event in events:
        match event:
            case Finished(index=index):
                ends[index] = event
            case Failed(error=error):
                raise error
            case TextDelta() | ReasoningDelta() | CallBegun() | CallArguments() | CallEnded():
                choices.setdefault(event.index, _ChoiceFold()).take(event)
    order = sorted(ends)
    return Reply(
        choices=tuple(choices.get(index, _ChoiceFold()).end(ends[index]) for index in order),
        usage=sum_usage(ends[index].usage for index in order),
        timings=ends[order[0]].timings if order else Timings(),
    )


class _ChoiceFold:
    """One choice, as far as its events have come."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._ids: list[int] = []
        self._calls: dict[int, tuple[CallBegun, list[str]]] = {}

    def take(self, event: TextDelta | ReasoningDelta | CallEvent) -> None:
        match event:
            case TextDelta(text=text, logprobs=logprobs, ids=ids):
                self._text.append(text)
                self._logprobs.extend(logprobs)
                self._ids.extend(ids)
            case ReasoningDelta(text=text):
                self._reasoning.append(text)
            case CallBegun(call=call):
                self._calls[call] = event, []
            case CallArguments(call=call, text=text):
                self._calls[call][1].append(text)

    def end(self, last: Finished) -> ReplyChoice:
        return ReplyChoice(
            index=last.index,
            text="".join(self._text),
            reason=last.reason,
            logprobs=tuple(self._logprobs),
            stop=last.stop,
            ids=tuple(self._ids),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(ToolCall(begun.id, begun.name, "".join(text)) for begun, text in self._calls.values()),
        )
