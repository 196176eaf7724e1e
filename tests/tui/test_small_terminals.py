"""What each screen is for is there where there is little room."""

from __future__ import annotations

from pathlib import Path

from core.conversations.store import ConversationStore
from tests.tui.conftest import quiet, until
from tests.tui.screens.models.on_models import models
from tests.tui.still import StillWorkbench
from tui.app import BenchtopApp
from tui.screens.serve.requests import Board
from tui.widgets.titlebar import measure_room

SMALL = (60, 15)


def lines_of(app: BenchtopApp) -> list[str]:
    return [strip.text for strip in app.screen._compositor.render_strips()]


async def test_the_list_of_models_stays_where_there_is_no_room_for_details() -> None:
    async with models(size=SMALL) as on:
        await until(on.pilot, lambda: "Qwen3-0.6B-Q8_0" in on.text())
        assert not on.details.display
        await on.select("qwen3-4b")
        await on.press("enter")
        await until(on.pilot, lambda: on.details.display)


def test_the_name_of_a_model_has_the_room_that_is_there() -> None:
    assert [measure_room(columns, serving=False) for columns in (200, 120, 80, 60, 40)] == [44, 44, 29, 20, 14]
    assert [measure_room(columns, serving=True) for columns in (120, 80, 60)] == [44, 16, 14]


async def test_requests_and_the_state_of_the_model_can_be_seen_on_sixty_columns_and_fifteen_lines() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test(size=SMALL) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3")
        await until(pilot, lambda: app.screen.query(Board))
        app.pulse()
        await pilot.pause()
        assert lines_of(app)[0].rstrip().endswith("guide ● ready")
        assert not app.screen.query_one("#curl").display
        assert app.screen.query_one(Board).size.height >= 2
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert app.screen.query_one("#curl").display


async def test_the_search_of_conversations_is_a_line_in_ascii_too(tmp_path: Path) -> None:
    still = StillWorkbench(conversations=ConversationStore(tmp_path))
    app = quiet(still)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        app.action_toggle_ascii()
        await pilot.press("alt+l", *"quo")
        await until(pilot, lambda: " quo" in lines_of(app)[1])
        assert all(line[:34].isascii() for line in lines_of(app))
    assert still.conversations is not None
    still.conversations.close()
