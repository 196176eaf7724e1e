"""The footer has room for whole keys alone."""

from __future__ import annotations

import pytest
from textual.widgets._footer import FooterKey

from tests.tui.conftest import quiet, until
from tests.tui.still import StillWorkbench
from tui.widgets.key_line import choose_keys

KEYS = (("s", "start"), ("e", "engines"), ("w", "write"), ("^q", "quit"), ("F1-4", "screens"), ("F5", "help"))
ACTIONS = ("start", "screen.engines", "write", "app.quit", "app.go('models')", "help")


def chosen(cells: int) -> list[str]:
    keys = [FooterKey(key, key, description, action) for (key, description), action in zip(KEYS, ACTIONS, strict=True)]
    keys.append(FooterKey("^p", "^p", "Commands", "app.command_palette", classes="-command-palette"))
    return [key.description for key in choose_keys(keys, cells) if isinstance(key, FooterKey)]


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        (68, ["start", "engines", "write", "quit", "screens", "help", "Commands"]),
        (67, ["start", "engines", "quit", "screens", "help", "Commands"]),
        (60, ["start", "engines", "quit", "screens", "help", "Commands"]),
        (59, ["start", "engines", "write", "quit", "help", "Commands"]),
        (54, ["start", "engines", "quit", "help", "Commands"]),
        (1, ["quit", "help", "Commands"]),
    ],
)
def test_the_last_key_of_a_screen_goes_before_those_to_others_where_that_is_enough(
    cells: int, shown: list[str]
) -> None:
    assert chosen(cells) == shown


async def test_another_width_brings_other_keys() -> None:
    app = quiet(StillWorkbench())
    async with app.run_test(size=(80, 24)) as pilot:

        def footer() -> str:
            return app.screen._compositor.render_strips()[-1].text

        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f2")
        await until(pilot, lambda: "t tools w write ^q quit F5 help" in footer())
        await pilot.resize_terminal(100, 24)
        await until(pilot, lambda: "t tools w write ^q quit F1-4 screens F5 help" in footer())
