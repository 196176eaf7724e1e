"""What has gone from the screen is painted over in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual._compositor import ChopsUpdate
from textual.widgets._toast import Toast

from tests.tui.conftest import quiet, until

if TYPE_CHECKING:
    import pytest
    from rich.console import RenderableType
    from textual.screen import Screen


async def test_a_toast_is_painted_over_when_what_is_out_of_sight_is_drawn_as_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = quiet()
    painted: set[int] = set()
    display = app._display

    def look(screen: Screen[object], update: RenderableType | None) -> None:
        if isinstance(update, ChopsUpdate):
            painted.update(line for line, _, _ in update.spans)
        display(screen, update)

    async with app.run_test(notifications=True) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f2", "e")
        app.notify("said in passing", timeout=3600)
        await until(pilot, lambda: app.screen.query(Toast))
        line = app.screen.query_one(Toast).region.y
        monkeypatch.setattr(app, "_display", look)
        app.screen.query_one("#curve").refresh()
        await app.screen.query_one(Toast).remove()
        await pilot.pause(0.1)
        assert line in painted
