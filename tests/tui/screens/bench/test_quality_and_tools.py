"""Quality and calls of tools on the bench screen."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from core.contract.options import KvType
from tests.tui.conftest import notices, quiet, shown, until
from tests.tui.still import StillWorkbench
from tui.app import BenchtopApp
from tui.screens.bench.screen import BenchScreen
from tui.widgets.table import RowTable

WIDE = (120, 40)


async def enter(pilot: Pilot[None], app: BenchtopApp, key: str) -> None:
    await until(pilot, lambda: app.desk.ready)
    await pilot.press("f2")
    await until(pilot, lambda: isinstance(app.screen, BenchScreen))
    await pilot.press(key)
    await pilot.pause()


def rows(app: BenchtopApp, table: str) -> list[list[str]]:
    found = app.screen.query_one(table, RowTable)
    return [[str(cell).strip() for cell in found.get_row_at(row)] for row in range(found.row_count)]


def written(folder: Path) -> dict[str, str]:
    """Ending to content."""
    return {path.suffix: path.read_text() for path in folder.iterdir()}


async def test_each_kv_type_stands_beside_the_best_and_all_of_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test(size=WIDE) as pilot:
        await enter(pilot, app, "q")
        app.screen.query_one("#quality-models", Input).value = "guide, echo"
        app.screen.query_one("#quality-kv", Input).value = "f16, q8_0"
        await pilot.press("s")
        await until(pilot, lambda: "w writes files" in shown(app, "#quality-standing"))
        assert still.qualities == [(["guide", "echo"], [KvType.F16, KvType.Q8_0], 8)]
        first, second, *others = rows(app, "#quality-rows")
        assert first == ["guide", "f16", "2048", "18.310 ± 0.410", "reference", "", ""]
        assert second == ["guide", "q8_0", "2048", "19.310 ± 0.410", "0.0123 ± 0.0011", "0.210", "98.0%"]
        assert len(others) == 2
        await pilot.press("w")
        files = written(tmp_path)
        assert set(files) == {".csv", ".json", ".md"}
        assert len(list(csv.reader(files[".csv"].splitlines()))) == 5


@pytest.mark.parametrize(
    ("field", "value", "said"), [("kv", "q9", "q9"), ("text", "/nowhere", "cannot be read"), ("chunks", "0", "1 to")]
)
async def test_what_cannot_be_measured_is_told_at_its_field(field: str, value: str, said: str) -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await enter(pilot, app, "q")
        wrong = app.screen.query_one(f"#quality-{field}", Input)
        wrong.value = value
        await pilot.press("s")
        await pilot.pause()
        assert said in shown(app, "#quality-wrong")
        assert app.focused is wrong


@pytest.mark.parametrize(("key", "pane"), [("q", "quality"), ("t", "tools")])
async def test_escape_stops_what_is_measured_and_its_rows_stay(key: str, pane: str) -> None:
    app = quiet(StillWorkbench(hold_suite="llamacpp"))
    async with app.run_test(size=WIDE) as pilot:
        await enter(pilot, app, key)
        await pilot.press("s")
        await until(pilot, lambda: len(rows(app, f"#{pane}-rows")) == 1)
        await pilot.press("e", "s")
        await pilot.pause()
        assert "Another measurement is under way" in notices(app)[0]
        await pilot.press(key, "escape")
        await until(pilot, lambda: shown(app, f"#{pane}-standing") == "Stopped before its end.")
        assert len(rows(app, f"#{pane}-rows")) == 1


async def test_each_question_is_a_row_and_what_went_wrong_stands_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = quiet()
    async with app.run_test(size=WIDE) as pilot:
        await enter(pilot, app, "t")
        await pilot.press("w")
        assert notices(app) == ["There is nothing to export yet; press s to measure."]
        await pilot.press("s")
        await until(pilot, lambda: "7 of 8 right" in shown(app, "#tools-standing"))
        assert rows(app, "#tools-rows")[4] == ["guide", "numbers and booleans", "✓", "✓", "✓", "✗", "1.5"]
        assert shown(app, "#tools-problems") == "numbers and booleans: `hours` of set_heating is 4, not 3."
        await pilot.press("w")
        assert set(written(tmp_path)) == {".csv", ".json", ".md"}
