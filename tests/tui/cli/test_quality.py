"""`tui bench --quality`, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bench.quality import QualityRow
from tui.cli.console import Paper
from tui.cli.main import main
from tui.cli.quality import build_quality_table


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))


def test_the_kv_types_of_a_model_stand_beside_the_best_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.csv"
    words = ("bench", "guide", "--quality", "--chunks", "1", "--sweep", "kv=q8_0,f16", "--csv", str(file))
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "reference" in printed
    assert "Perplexity and Kullback-Leibler" in printed
    head, first, second = file.read_text().splitlines()
    assert head.startswith("model,KV,tokens")
    assert first.startswith("guide,f16,")
    assert second.startswith("guide,q8_0,")


def test_a_table_fits_a_terminal_and_names_stand_in_it_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    row = QualityRow("gu[red]ide", "f16", 256, 40368.1, 12521.0, 0.0123, 0.0021, 0.456, 0.987)
    figures = ("gu[red]ide", "40368 ± 12521", "0.0123 ± 0.0021", "98.7%")
    for width, words in ((80, figures), (100, (*figures, "256", "0.456"))):
        Paper(width=width).print(build_quality_table([row], width))
        printed = capsys.readouterr().out
        assert [word for word in words if word not in printed] == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--chunks", "0"), "--chunks is 1 to"),
        (("--rounds", "3"), "--rounds does nothing with --quality"),
        (("--sweep", "threads=1,2"), "sweep kv"),
        (("--text", "/nowhere/at/all"), "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    words: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(("bench", "guide", "--quality", *words)) != 0
    assert why in capsys.readouterr().err
