"""The request board: every request there is, with what it waits for, and below them those that ended lately."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from textual.content import Content

from core.observing.outcomes import RequestOutcome
from core.observing.recent import EndedRequest, RecentRequests
from core.snapshots import EtaBasis, RequestRow, RequestState, UsageTotals
from tui import format as fmt
from tui.screens.serve.request_facts import OUTCOMES, list_notes
from tui.widgets.row_list import Cell, Field, List

MOST_ENDED_ROWS: Final = 100
FIELDS: Final = (
    Field("id", 8),
    Field("model", 0),
    Field("state", 10),
    Field("prompt", 6, right=True, rank=2),
    Field("cached", 6, right=True, rank=4),
    Field("made", 5, right=True),
    Field("guessed", 9, right=True, rank=5),
    Field("tok/s", 5, right=True),
    Field("ETA", 7, right=True, rank=3),
    Field("elapsed", 7, right=True, rank=1),
)
LEAST_NAME_CELLS: Final = 10
_STYLES: Final = {
    RequestState.LOADING: "$queued",
    RequestState.QUEUED: "$queued",
    RequestState.PREFILL: "$prefill",
    RequestState.DECODE: "$decode",
    RequestState.PREEMPTED: "$gauge-warn",
    RequestState.ENDED: "$quiet",
}
BoardRow = RequestRow | EndedRequest


class Board(List[BoardRow]):
    """Rows by request id, those that run first. A star behind the state: there is something to say about how its
    prompt came to be. `~` before an ETA: it depends on how long the answer will be."""

    def __init__(self, dom_id: str | None = None) -> None:
        super().__init__(FIELDS, find_id, build_cells, least=LEAST_NAME_CELLS, dom_id=dom_id)
        self._number = -1
        self._ended: Sequence[EndedRequest] = ()

    @property
    def chosen(self) -> RequestRow | None:
        """The request under the cursor."""
        row = self.row
        return row.row if isinstance(row, EndedRequest) else row

    def show_requests(self, requests: Sequence[RequestRow], recent: RecentRequests) -> None:
        """Nothing is drawn where nothing has changed."""
        if recent.number != self._number:
            self._number, self._ended = recent.number, recent.list_ended(MOST_ENDED_ROWS)
        under_way = {request.id for request in requests}
        rows: Sequence[BoardRow] = [*requests, *(each for each in self._ended if each.row.id not in under_way)]
        if rows != self.rows:
            self.show(rows)


def find_id(row: BoardRow) -> str:
    """What the board tells requests apart by."""
    return row.row.id if isinstance(row, EndedRequest) else row.id


def build_cells(row: BoardRow) -> list[Cell]:
    """What stands in the columns for a request."""
    if isinstance(row, EndedRequest):
        return _build_ended_cells(row)
    rate = fmt.format_rate(row.rate) if row.rate else "-"
    star = "*" * bool(list_notes(row))
    return [*_head(row, (_describe_state(row) + star, _STYLES[row.state])), rate, _describe_eta(row), _elapsed(row)]


def _build_ended_cells(ended: EndedRequest) -> list[Cell]:
    row, usage = ended.row, ended.usage
    style = "$quiet" if ended.outcome in (RequestOutcome.OK, RequestOutcome.CANCELLED) else "$error"
    rate = ended.timings.decode_rate(usage.completion_tokens) or row.rate
    cells = [*_head(row, (OUTCOMES[ended.outcome], style)), fmt.format_rate(rate) if rate else "-", "-"]
    return [*cells, fmt.format_seconds(ended.elapsed)]


def _head(row: RequestRow, state: tuple[str, str]) -> list[Cell]:
    return [
        _tail(row.id),
        row.model,
        Content.styled(*state),
        fmt.shorten_count(row.prompt_tokens),
        fmt.shorten_count(row.cached_tokens),
        fmt.shorten_count(row.completion_tokens),
        _guesses(row),
    ]


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


def _describe_state(request: RequestRow) -> str:
    """While the prompt is computed, with how much of it is done; in the queue with its place."""
    if request.state is RequestState.QUEUED and request.position:
        return f"queue {request.position}"
    if request.state is not RequestState.PREFILL or not request.prompt_tokens:
        return request.state.value
    return f"fill {min(99, 100 * request.prefilled // request.prompt_tokens)}%"


def _describe_eta(request: RequestRow) -> str:
    if request.eta is None:
        return "-"
    mark = "~" if request.eta_basis in (EtaBasis.MAX_TOKENS, EtaBasis.USUAL_LENGTH) else ""
    return f"{mark}{fmt.format_seconds(request.eta)}"


def _elapsed(request: RequestRow) -> str:
    return fmt.format_seconds(request.elapsed)


def _tail(identity: str) -> str:
    """Ids differ behind their last dash or underscore; what stands before it is the same for all."""
    return re.split("[-_]", identity)[-1][:8]
