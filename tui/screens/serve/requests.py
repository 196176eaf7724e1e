"""The request board: every request there is, with what it waits for."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from core.snapshots import RequestRow, RequestState
from tui import format as fmt
from tui.widgets.table import Cell, Column, Rows

COLUMNS = (
    Column("id", 10),
    Column("model", 16, wide_only=True),
    Column("state", 9),
    Column("prompt", 6, right=True),
    Column("cached", 6, right=True),
    Column("made", 6, right=True),
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


class Board(Rows):
    """Rows by request id. A star behind the state: there is something to say about how its prompt came to be."""

    def __init__(self, dom_id: str | None = None) -> None:
        super().__init__(COLUMNS, dom_id=dom_id)

    def show_requests(self, requests: Iterable[RequestRow]) -> None:
        self.show({request.id: _cells(request) for request in requests})


def _cells(request: RequestRow) -> list[Cell]:
    eta = fmt.seconds(request.eta) if request.eta is not None else "-"
    rate = fmt.rate(request.rate) if request.rate else "-"
    return [
        _tail(request.id),
        fmt.clip(request.model, 16),
        Content.styled(request.state.value + "*" * bool(request.notes), _STYLES[request.state]),
        fmt.short(request.prompt_tokens),
        fmt.short(request.cached_tokens),
        fmt.short(request.completion_tokens),
        rate,
        eta,
        fmt.seconds(request.elapsed),
    ]


def _tail(identity: str) -> str:
    """Ids differ behind their last dash; what stands before it is the same for all."""
    return identity.rsplit("-", 1)[-1][:10]
