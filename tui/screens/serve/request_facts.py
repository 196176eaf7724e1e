"""What a request has come to, in a few lines: its state, its times, what of its prompt was reused. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from core.events import FinishReason
from core.observing.outcomes import RequestOutcome
from core.observing.recent import EndedRequest
from core.requests import Priority
from core.reuse import Cause, Tier
from core.snapshots import EtaBasis, RequestRow, RequestState
from tui import format as fmt

CAUSES: Final = {
    Cause.SYSTEM_CHANGED: "the system prompt changed",
    Cause.TOOLS_CHANGED: "the tools changed",
    Cause.HISTORY_EDITED: "an earlier turn was edited",
    Cause.REASONING_STRIPPED: "the client left out the reasoning",
    Cause.TEMPLATE_CHANGED: "the template wrote it differently",
    Cause.EVICTED: "it had to make room",
    Cause.OTHER_TENANT: "it is known under another key or salt alone",
    Cause.ADAPTER_CHANGED: "it is known with another adapter alone",
    Cause.NO_CACHE_ASKED: "it was asked for without cache",
}
"""Those that a request's note tells; that a prompt is new is nothing to tell."""
_TIERS: Final = {
    Tier.RESIDENT: "the KV cache",
    Tier.MEMORY: "memory",
    Tier.DISK: "the disk",
}
_BASES: Final = {
    EtaBasis.PACE: "by the pace so far",
    EtaBasis.MAX_TOKENS: "if it takes all of its max tokens",
    EtaBasis.USUAL_LENGTH: "by how long this model's answers were lately",
}
OUTCOMES: Final = {
    RequestOutcome.OK: "done",
    RequestOutcome.CANCELLED: "cancelled",
    RequestOutcome.REJECTED: "rejected",
    RequestOutcome.TIMED_OUT: "timed out",
    RequestOutcome.REFUSED: "refused",
    RequestOutcome.NOT_FOUND: "no model",
    RequestOutcome.UNAVAILABLE: "ended",
    RequestOutcome.LOAD_FAILED: "no load",
    RequestOutcome.ENGINE_FAILED: "failed",
    RequestOutcome.FAILED: "failed",
}
_REASONS: Final = {
    FinishReason.STOP: "the model ended it",
    FinishReason.STOP_SEQUENCE: "a stop text came up",
    FinishReason.LENGTH: "it has its max tokens",
    FinishReason.CONTEXT: "the context is full",
    FinishReason.LOOP: "it went round in a circle",
    FinishReason.TOOL_CALLS: "it calls tools",
}


def list_notes(request: RequestRow) -> tuple[str, ...]:
    """What there is to say about how its prompt came to be, and why it was computed again, in sentences."""
    reuse = request.reuse
    if reuse.cause not in CAUSES:
        return request.notes
    why = CAUSES[reuse.cause] + f" ({reuse.detail})" * bool(reuse.detail)
    said = f"{fmt.format_count(reuse.lost)} tokens of the prompt are computed again: {why}"
    left = reuse.departure
    if left is None:
        return (*request.notes, f"{said}.")
    return (*request.notes, f"{said}, at token {fmt.format_count(left.token)}: {left.asked!r} for {left.known!r}.")


def describe_guesses(request: RequestRow) -> str:
    """A sentence on what was guessed ahead of its answer; empty where nothing was."""
    if not request.guessed_tokens:
        return ""
    kept, guessed = fmt.format_count(request.kept_tokens), fmt.format_plural(request.guessed_tokens, "guessed token")
    return f"{kept} of {guessed} came true."


def describe_origin(request: RequestRow, ended: EndedRequest | None) -> str:
    """Who asked what, and by which way."""
    parts = [request.model]
    if request.route:
        parts.append(f"chosen since {request.route}")
    parts.append(f"with the API key {request.key}" if request.key else "without an API key")
    if ended is not None and ended.endpoint:
        parts.append(f"by {ended.endpoint}")
    if request.priority is not Priority.NORMAL:
        parts.append(f"priority {request.priority.value}")
    return ", ".join(parts)


def describe_state(request: RequestRow) -> str:
    """Of one that waits or runs, with its estimate, which is told as one."""
    match request.state:
        case RequestState.QUEUED if request.position:
            said = f"waits in the queue, number {request.position}"
        case RequestState.PREFILL if request.prompt_tokens:
            done = f"{fmt.format_count(request.prefilled)} of {fmt.format_count(request.prompt_tokens)}"
            said = f"reads its prompt, {done} tokens"
        case RequestState.DECODE:
            said = f"writes, {fmt.format_plural(request.completion_tokens, 'token')} up to now"
            said += f", {fmt.format_rate(request.rate)} tok/s" if request.rate else ""
        case RequestState.PREEMPTED:
            said = "was put aside for others, and goes on when there is room"
        case other:
            said = other.value
    if request.eta is None or request.eta_basis is None:
        return f"It {said}." if request.state is not RequestState.QUEUED or request.position else "It is queued."
    until = "its answer begins" if request.state is RequestState.PREFILL else "it ends"
    return f"It {said}; about {fmt.format_seconds(request.eta)} until {until}, {_BASES[request.eta_basis]}."


def describe_end(ended: EndedRequest) -> str:
    """What became of one."""
    if ended.error:
        return f"{OUTCOMES[ended.outcome]}: {ended.error}"
    reasons = ", ".join(dict.fromkeys(_REASONS[reason] for reason in ended.reasons))
    return f"done: {reasons}." if reasons else "done."


def list_times(request: RequestRow, ended: EndedRequest | None) -> Iterator[str]:
    """Its times, each in a few words."""
    if ended is None:
        yield f"{fmt.format_seconds(request.elapsed)} up to now"
        if request.waited:
            yield f"waited {fmt.format_seconds(request.waited)}"
        return
    yield f"came at {time.strftime('%H:%M:%S', time.localtime(ended.began))}"
    if ended.waited is not None:
        yield f"waited {fmt.format_seconds(ended.waited)}"
    if ended.first is not None:
        yield f"first of its answer after {fmt.format_seconds(ended.first)}"
    timings, usage = ended.timings, ended.usage
    computed = usage.prompt_tokens - usage.cached_tokens
    if timings.prefill and computed > 0:
        rate = fmt.format_rate(timings.prefill_rate(computed))
        yield f"read in {fmt.format_seconds(timings.prefill)} ({rate} tok/s)"
    if timings.decode:
        rate = fmt.format_rate(timings.decode_rate(usage.completion_tokens))
        yield f"written in {fmt.format_seconds(timings.decode)} ({rate} tok/s)"
    yield f"{fmt.format_seconds(ended.elapsed)} in all"


def list_tokens(request: RequestRow, ended: EndedRequest | None) -> Iterator[str]:
    """What its prompt took, from where, and what came of it, each in a few words."""
    if request.prompt_tokens:
        yield f"prompt {fmt.format_plural(request.prompt_tokens, 'token')}"
        reused = request.cached_tokens
        tier = f" from {_TIERS[request.reuse.tier]}" if request.reuse.tier is not None else ""
        yield f"{fmt.format_count(reused)} reused{tier}" if reused else "none reused"
        if request.reuse.cause is Cause.FIRST_SEEN:
            yield "the rest is new"
    if request.completion_tokens:
        yield f"answer {fmt.format_plural(request.completion_tokens, 'token')}"
    if ended is not None and ended.usage.reasoning_tokens:
        yield f"{fmt.format_count(ended.usage.reasoning_tokens)} of them thought"
