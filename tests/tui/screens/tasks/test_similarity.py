"""Two texts and how alike they are, by an embedder of minimal size."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import TextArea

from tests.fakes.bert import write_embedder
from tests.tui.conftest import app_on, shown, until
from tui.screens.tasks.similarity import SimilarityScreen, compute_cosine
from tui.widgets.gauge import Gauge


async def test_the_same_text_twice_is_as_alike_as_can_be(tmp_path: Path) -> None:
    app = app_on(str(write_embedder(tmp_path / "tiny")), tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        app.action_compare_texts()
        await until(pilot, lambda: isinstance(app.screen, SimilarityScreen))
        await pilot.press(*"hello")
        assert "in each of the two" in shown(app, "#about")
        await pilot.press("tab", *"hello")
        await until(pilot, lambda: "vectors of" in shown(app, "#about"))
        assert app.screen.query_one(Gauge).text == "1.000"
        app.screen.query_one("#second", TextArea).text = "world world"
        await until(pilot, lambda: app.screen.query_one(Gauge).text not in ("1.000", "-"))
        await pilot.press("escape")
        assert not isinstance(app.screen, SimilarityScreen)


async def test_without_an_embedder_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    app = app_on("echo", tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        app.action_compare_texts()
        await pilot.press(*"a", "tab", *"b")
        await until(pilot, lambda: "models screen" in shown(app, "#about"))


def test_the_cosine_is_that_of_the_angle_and_nothing_where_a_vector_has_no_length() -> None:
    assert compute_cosine((1.0, 0.0), (0.0, 2.0)) == 0.0
    assert compute_cosine((3.0, 4.0), (6.0, 8.0)) == pytest.approx(1.0)
    assert compute_cosine((1.0, 1.0), (-1.0, -1.0)) == pytest.approx(-1.0)
    assert compute_cosine((0.0, 0.0), (1.0, 0.0)) == 0.0
