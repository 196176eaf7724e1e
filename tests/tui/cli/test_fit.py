"""`tui fit` as a user meets it: without the Hub, on models that are here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.guide import WEIGHTS
from tui.cli.main import USAGE_STATUS, main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["fit", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_file_fits_into_another_machine_with_place_parts_and_speed(command: Command) -> None:
    code, out, err = command(str(WEIGHTS), "--vram", "2GB", "--ram", "4GB", "--card", "rtx 3060", "--context", "512")
    assert (code, err) == (0, "")
    assert max(len(line.rstrip()) for line in out.splitlines() if "/" not in line) <= 100
    for words in ("2.0 GB free on rtx 3060", "4.0 GB of main memory", "All 5 layers on rtx 3060", "KV", "kept free"):
        assert words in out
    assert "tokens/s" in out
    assert "tui bench" not in out


def test_what_fits_here_is_told_with_the_command_that_verifies_it(command: Command) -> None:
    code, out, _ = command("guide", "--gpu-layers", "0")
    assert code == 0
    assert "All of it in main memory" in out
    assert "`tui bench guide` measures it." in out


def test_the_rows_as_json_tell_each_device(command: Command) -> None:
    code, out, _ = command("guide", "--vram", "1GB", "--vram", "2GB", "--kv-type", "q8_0", "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert (row["fit"], row["kv_type"], row["place"]) == ("fits", "q8_0", "all on a card of 1.0 GB")
    main_memory, card = row["devices"]
    assert (main_memory["device"], card["device"], card["layers"]) == ("", "CUDA0", 5)
    assert card["needed"] == card["weights"] + card["kv"] + card["compute"] + card["other"] <= card["room"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("guide", "--vram", "lots"), "'lots' is no size; write it as 12GB"),
        (("guide", "--card", "rtx 3060"), "give their memory with --vram as well"),
        (("guide", "--vram", "1GB", "--card", "gtx 1"), "is not known here; these names are like it"),
        (("guide", "--context", "1"), "--context must be from 16 to"),
    ],
)
def test_what_cannot_be_understood_is_one_sentence(command: Command, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = command(*words)
    assert (code, out) == (USAGE_STATUS, "")
    assert sentence in err
