"""`tui bench --tools`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.cli.main import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))


def test_each_question_is_a_row_and_the_score_stands_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.csv"
    assert main(("bench", "echo", "--tools", "--csv", str(file))) == 1, "it only says again what it is told"
    printed = capsys.readouterr().out
    assert "one call: It called nothing" in printed
    assert "[tools] echo: " in printed
    head, *rows = file.read_text().splitlines()
    assert head.startswith("model,case,called")
    assert len(rows) == 8


def test_one_measurement_is_made_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("bench", "echo", "--tools", "--quality")) != 0
    assert "one after the other" in capsys.readouterr().err
