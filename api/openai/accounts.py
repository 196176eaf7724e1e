"""What replies tell beside the text, in all dialects that go by OpenAI's: usage, timings, why a choice ended."""

from __future__ import annotations

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from api.openai.generation_fields import GenerationFields
from api.openai.wire import CompletionDetails, PromptDetails, WireProgress, WireTimings, WireUsage
from core.events import Finished, FinishReason, Prefilled, SoFar, Timings, Usage, sum_usage


class AnswerAccount:
    """What an answer has taken, as far as was told, and what its chunks are to say of that."""

    def __init__(self, body: GenerationFields, prompts: int = 1) -> None:
        options = body.stream_options
        self.wanted = bool(options and options.include_usage)
        """Whether usage comes in a chunk of its own at the end."""
        self._running_usage = bool(options and options.continuous_usage_stats)
        self._running_timings = bool(body.timings_per_token)
        self._prompts = prompts
        self._each = body.n or 1
        """Choices of a prompt; they share it, and prompts add up."""
        self._used: dict[int, Usage] = {}
        self._ended: dict[int, Timings] = {}

    @property
    def complete(self) -> bool:
        """Whether all choices have ended."""
        return len(self._ended) == self._prompts * self._each

    def begin(self, index: int, usage: Usage) -> None:
        """What a choice's prompt has taken, where nothing was told of the choice yet."""
        self._used.setdefault(index, replace(usage, completion_tokens=0))

    def advance(self, index: int, so_far: SoFar | None) -> WireTimings | UnsetType:
        """What the choice has taken by now; returns what its chunk says of time."""
        if so_far is None:
            return UNSET
        self._used[index] = so_far.usage
        return translate_timings(so_far.usage, so_far.timings) if self._running_timings else UNSET

    def end(self, event: Finished) -> WireTimings:
        """Of one choice."""
        self._used[event.index] = event.usage
        self._ended[event.index] = event.timings
        return translate_timings(event.usage, event.timings)

    def tell_total(self) -> WireUsage:
        total = Usage()
        for number in range(self._prompts):
            indexes = range(number * self._each, (number + 1) * self._each)
            used = sum_usage(self._used[index] for index in indexes if index in self._used)
            total = Usage(
                prompt_tokens=total.prompt_tokens + used.prompt_tokens,
                cached_tokens=total.cached_tokens + used.cached_tokens,
                completion_tokens=total.completion_tokens + used.completion_tokens,
                reasoning_tokens=total.reasoning_tokens + used.reasoning_tokens,
            )
        return translate_usage(total)

    def tell_usage(self) -> WireUsage | UnsetType | None:
        """What a chunk says of usage; null where it is only told at the end, or not known yet."""
        if self._running_usage and self._used:
            return self.tell_total()
        return None if self.wanted or self._running_usage else UNSET

    def tell_timings(self) -> WireTimings:
        """Those of the first choice, for all of them."""
        first = min(self._ended)
        return translate_timings(self._used[first], self._ended[first])


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


def make_finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI's own floor stands for it."""
    return max(logprob, -9999.0)
