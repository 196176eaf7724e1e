"""The request board."""

from __future__ import annotations

from textual.app import App, ComposeResult

from core.snapshots import RequestRow, RequestState
from tui.screens.serve.requests import Board


class Bare(App[None]):
    CSS = "$queued: gray; $prefill: blue; $decode: green; $gauge-warn: yellow;"

    def compose(self) -> ComposeResult:
        yield Board()


async def test_a_request_is_shown_in_whatever_state_it_is() -> None:
    rows = [RequestRow(each.value, "m", each, 0, 0, 0, 0, 0.0, None, 1.0, 1.0) for each in RequestState]
    app = Bare()
    async with app.run_test() as pilot:
        board = app.query_one(Board)
        board.show_requests(rows)
        await pilot.pause()
        assert board.row_count == len(RequestState)
        shown = {str(board.get_row_at(row)[1]) for row in range(board.row_count)}
        assert shown >= {"loading", "queued"}
