"""The request board."""

from __future__ import annotations

from msgspec.structs import replace
from textual.app import App, ComposeResult

from core.observing.recent import RecentRequests
from core.reuse import Cause, Departure, Reuse, Tier
from core.snapshots import RequestRow, RequestState
from tui.screens.serve.request_facts import describe_guesses, list_notes
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
        board.show_requests(rows, RecentRequests())
        await pilot.pause()
        drawn = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        assert all(each.value in drawn for each in RequestState)


def test_what_was_guessed_ahead_of_an_answer_is_told_in_a_line_where_anything_was() -> None:
    row = RequestRow("a", "m", RequestState.DECODE)
    assert describe_guesses(row) == ""
    assert describe_guesses(replace(row, guessed_tokens=1)) == "0 of 1 guessed token came true."
    many = describe_guesses(replace(row, guessed_tokens=1_234_567, kept_tokens=1_234_000))
    assert many == "1,234,000 of 1,234,567 guessed tokens came true."
    assert len(many) < 76


async def test_a_wide_board_shows_how_many_guesses_came_true() -> None:
    app = Bare()
    async with app.run_test(size=(120, 24)) as pilot:
        board = app.query_one(Board)
        quiet = RequestRow("a", "m", RequestState.DECODE)
        board.show_requests([quiet, replace(quiet, id="b", guessed_tokens=64, kept_tokens=41)], RecentRequests())
        await pilot.pause()
        assert "41/64" in "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def test_a_note_says_why_a_prompt_is_computed_again_and_where_it_left_what_is_known() -> None:
    row = RequestRow("a", "m", RequestState.PREFILL, 2000, 12, 12, 0, 0.0, None, 1.0, 1.0, notes=("It was long.",))
    assert list_notes(row) == ("It was long.",)
    assert list_notes(replace(row, reuse=Reuse(cause=Cause.FIRST_SEEN, lost=2000))) == row.notes
    edited = Reuse(12, Tier.DISK, Cause.SYSTEM_CHANGED, lost=1988, departure=Departure(12, "Be brief", "Be long"))
    assert list_notes(replace(row, reuse=edited))[1] == (
        "1,988 tokens of the prompt are computed again: the system prompt changed, at token 12: "
        "'Be long' for 'Be brief'."
    )
    evicted = Reuse(cause=Cause.EVICTED, detail="--cache-size", lost=7)
    assert list_notes(replace(row, reuse=evicted))[1] == (
        "7 tokens of the prompt are computed again: it had to make room (--cache-size)."
    )
