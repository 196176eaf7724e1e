"""What stands below an answer while it is waited for."""

from __future__ import annotations

from msgspec.structs import replace

from core.snapshots import ModelState, RequestRow, RequestState
from tests.tui.conftest import chat_of, finished, quiet, shown, until
from tests.tui.still import GUIDE, StillWorkbench
from tui.glyphs import ASCII, UNICODE
from tui.screens.chat.progress import draw_progress

WAITING = RequestRow("b", "guide", RequestState.QUEUED, 54, waited=3.2, position=2)
READING = RequestRow("b", "guide", RequestState.PREFILL, 1840, 512, 1024, eta=0.9)
WRITING = RequestRow("b", "guide", RequestState.DECODE, 311, 288, 311, 164, 38.4, None, 0.0, 4.6)


def test_who_waits_is_told_the_place_in_the_queue() -> None:
    assert draw_progress(WAITING, GUIDE, UNICODE).plain == "waiting, number 2 in the queue · 3.2 s"


def test_reading_a_prompt_shows_a_bar_what_was_known_and_how_long_it_takes() -> None:
    shown = draw_progress(READING, GUIDE, UNICODE).plain
    assert shown == f"reading {'━' * 9}{'─' * 7} 1,024 of 1,840 tokens · 512 cached · 900 ms left"
    short = replace(READING, prompt_tokens=540, prefilled=520)
    assert draw_progress(short, GUIDE, ASCII).plain == "reading 520 of 540 tokens | 512 cached | 900 ms left"


def test_a_running_answer_shows_tokens_pace_time_and_context() -> None:
    assert draw_progress(WRITING, GUIDE, UNICODE).plain == "164 tok · 38.4 tok/s · 4.6 s · 23% of the context"
    assert draw_progress(WRITING, None, UNICODE).plain == "164 tok · 38.4 tok/s · 4.6 s"


async def test_loading_says_what_it_measures_and_escape_skips_the_rest() -> None:
    still = StillWorkbench((replace(GUIDE, state=ModelState.LOADING, detail="measuring llamacpp, round 2 of 6"),))
    app = quiet(still)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        app.pulse()
        await pilot.pause()
        assert shown(app, "#loading") == "guide: measuring llamacpp, round 2 of 6 · 0 ms · esc skips"
        await pilot.press("escape")
        assert still.skipped
        still.shown = (GUIDE,)
        app.pulse()
        await pilot.pause()
        assert not app.screen.query_one("#loading").display


async def test_a_model_that_is_to_take_the_place_of_the_one_in_use_is_told_of_and_an_answer_is_stopped_first() -> None:
    coming = replace(GUIDE, name="qwen2.5-coder-0.5b-instruct", state=ModelState.LOADING, detail="measuring mnn")
    still = StillWorkbench((GUIDE, coming), hold_stream=True)
    app = quiet(still)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: still.asked)
        app.pulse()
        assert shown(app, "#loading") == "qwen2.5-coder-0.5b-inst…: measuring mnn · 0 ms"
        await pilot.press("escape")
        await until(pilot, lambda: finished(chat_of(app)))
        assert not still.skipped
        app.pulse()
        assert shown(app, "#loading").endswith("esc skips")
        await pilot.press("escape")
        assert still.skipped
