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


def test_a_name_stands_in_the_table_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Paper(width=100).print(build_quality_table([QualityRow("gu[red]ide", "f16", 256, 9.0)]))
    assert "gu[red]ide" in capsys.readouterr().out


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
