"""The request board: every request there is, with what it waits for."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from core.snapshots import Cause, RequestRow, RequestState, UsageTotals
from tui import format as fmt
from tui.widgets.table import Cell, Column, RowTable

COLUMNS = (
    Column("id", 10),
    Column("model", 16, wide_only=True),
    Column("state", 9),
    Column("prompt", 6, right=True),
    Column("cached", 6, right=True),
    Column("made", 6, right=True),
    Column("guessed", 9, right=True, wide_only=True),
    Column("tok/s", 6, right=True),
    Column("ETA", 6, right=True),
    Column("elapsed", 7, right=True),
)
_STYLES = {
    RequestState.LOADING: "$queued",
    RequestState.QUEUED: "$queued",
    RequestState.PREFILL: "$prefill",
    RequestState.DECODE: "$decode",
    RequestState.PREEMPTED: "$gauge-warn",
    RequestState.ENDED: "$quiet",
}


_CAUSES = {
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


class Board(RowTable):
    """Rows by request id. A star behind the state: there is something to say about how its prompt came to be."""

    def __init__(self, dom_id: str | None = None) -> None:
        super().__init__(COLUMNS, dom_id=dom_id)

    def show_requests(self, requests: Iterable[RequestRow]) -> None:
        self.show({request.id: _cells(request) for request in requests})


def _cells(request: RequestRow) -> list[Cell]:
    eta = fmt.format_seconds(request.eta) if request.eta is not None else "-"
    rate = fmt.format_rate(request.rate) if request.rate else "-"
    return [
        _tail(request.id),
        fmt.clip_text(request.model, 16),
        Content.styled(_state(request) + "*" * bool(list_notes(request)), _STYLES[request.state]),
        fmt.shorten_count(request.prompt_tokens),
        fmt.shorten_count(request.cached_tokens),
        fmt.shorten_count(request.completion_tokens),
        _guesses(request),
        rate,
        eta,
        fmt.format_seconds(request.elapsed),
    ]


def list_notes(request: RequestRow) -> tuple[str, ...]:
    """What there is to say about how its prompt came to be, and why it was computed again, in sentences."""
    reuse = request.reuse
    if reuse.cause not in _CAUSES:
        return request.notes
    why = _CAUSES[reuse.cause] + f" ({reuse.detail})" * bool(reuse.detail)
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


def describe_use(today: UsageTotals | None) -> str:
    """What was used today, in a few words; empty for nothing."""
    if today is None or not today.requests:
        return ""
    requests = fmt.format_plural(today.requests, "request")
    tokens = f"{fmt.shorten_count(today.prompt_tokens)} tokens in, {fmt.shorten_count(today.completion_tokens)} out"
    return f"today {requests}, {tokens}"


def _guesses(request: RequestRow) -> str:
    """Those that came true, of all."""
    if not request.guessed_tokens:
        return "-"
    return f"{fmt.shorten_count(request.kept_tokens)}/{fmt.shorten_count(request.guessed_tokens)}"


def _state(request: RequestRow) -> str:
    """While the prompt is computed, with how much of it is done."""
    if request.state is not RequestState.PREFILL or not request.prompt_tokens:
        return request.state.value
    return f"fill {min(99, 100 * request.prefilled // request.prompt_tokens)}%"


def _tail(identity: str) -> str:
    """Ids differ behind their last dash; what stands before it is the same for all."""
    return identity.rsplit("-", 1)[-1][:10]
