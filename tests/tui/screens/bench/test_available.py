"""The list of engines lines up, whatever their names and however narrow the terminal."""

from __future__ import annotations

from textual.app import App, ComposeResult

from core.engines.registry import EngineReport
from tui.screens.bench.available import EngineTable

REPORTS = (
    EngineReport("mnn", "any", 10, True, version="3.6.1"),
    EngineReport("onnxruntime-genai", "any", 10, True, version="0.18.0"),
    EngineReport(
        "executorch",
        "any",
        10,
        False,
        reason="The package executorch is not installed.",
        mend="uv pip install executorch 'torch>=2.13,<2.14'",
    ),
)


class Listing(App[None]):
    def compose(self) -> ComposeResult:
        yield EngineTable()


async def test_names_versions_and_what_goes_on_below_stand_in_their_columns() -> None:
    app = Listing()
    async with app.run_test(size=(70, 20)) as pilot:
        table = app.query_one(EngineTable)
        table.show(REPORTS)
        await pilot.pause()
        assert [line.rstrip() for line in str(table.render()).splitlines()] == [
            "✓ mnn                3.6.1   runs anywhere",
            "✓ onnxruntime-genai  0.18.0  runs anywhere",
            "✗ executorch         The package executorch is not installed.",
            "                     mend: uv pip install executorch",
            "                     'torch>=2.13,<2.14'",
        ]
