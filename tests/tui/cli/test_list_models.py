"""`tui list` and `tui rm` as a user meets them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.guide import WEIGHTS
from tests.fakes.hubcache import cached
from tui.cli.main import USAGE_STATUS, main

Command = Callable[..., tuple[int, str, str]]
GGUF = WEIGHTS.read_bytes()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line in an empty folder with a Hub cache of its own; gives the code, stdout and stderr."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_list_fits_eighty_columns_and_shows_damage(tmp_path: Path, command: Command) -> None:
    cached(tmp_path / "hub", "someone-with-a-long-name/Some-Model-With-A-Long-Name-GGUF", {"m-Q4_K_M.gguf": GGUF})
    cached(tmp_path / "hub", "o/broken", {"m-Q8_0.gguf": GGUF[:5000]})
    code, out, err = command("list")
    assert (code, err) == (0, "")
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    for word in ("guide", "echo", "o/broken:Q8_0", "damaged", "gguf"):
        assert word in out


def test_the_list_as_json_tells_everything(tmp_path: Path, command: Command) -> None:
    cached(tmp_path / "hub", "o/r", {"m-Q4_K_M.gguf": GGUF})
    code, out, _ = command("list", "--json")
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert entries["o/r:Q4_K_M"]["size"] == len(GGUF)
    assert "llamacpp" in entries["o/r:Q4_K_M"]["engines"]
    assert entries["guide"]["location"] == "built in"


@pytest.mark.parametrize("words", [["list", "--catalog"], ["list", "models"]])
def test_the_catalog_is_listed_within_eighty_columns(command: Command, words: list[str]) -> None:
    code, out, _ = command(*words)
    assert code == 0
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    for alias in ("gemma-4b", "whisper-large-v3-turbo", "deepseek-r1:7b"):
        assert alias in out
    told = json.loads(command(*words, "--json")[1])
    assert {"name", "title", "task", "parameters", "variants", "repositories"} <= told[0].keys()


def test_folders_of_the_settings_are_listed_and_may_be_deleted_from(tmp_path: Path, command: Command) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "mine.gguf").write_bytes(GGUF)
    config = tmp_path / "config.toml"
    config.write_text(f"[library]\nfolders = [{str(models)!r}]\n")
    assert str(models / "mine.gguf") in command("list", "--json", "--config", str(config))[1]
    code, out, _ = command("rm", str(models / "mine.gguf"), "--yes", "--config", str(config))
    assert code == 0
    assert "became free" in out
    assert not (models / "mine.gguf").exists()


def test_the_short_name_stands_beside_the_path_where_it_can_be_typed(tmp_path: Path, command: Command) -> None:
    models = tmp_path / "models"
    (models / "deeper").mkdir(parents=True)
    for path in ("mine.gguf", "guide.gguf", "qwen3-4b.gguf", "own.gguf", "twice.gguf", "deeper/twice.gguf"):
        (models / path).write_bytes(GGUF)
    config = tmp_path / "config.toml"
    config.write_text(f"[library]\nfolders = [{str(models)!r}]\n[models.own]\nsource = 'echo'\n")
    entries = json.loads(command("list", "--json", "-C", str(config))[1])
    shorts = {entry["path"]: entry["short"] for entry in entries if entry["location"] == "folder"}
    assert {path for path, short in shorts.items() if short is not None} == {str(models / "mine.gguf")}
    assert shorts[str(models / "mine.gguf")] == "mine"
    words = command("list", "-C", str(config))[1].split()
    assert "mine" in words
    assert not {"twice", "own", "qwen3-4b"} & set(words)
    assert command("rm", "mine", "-y", "-C", str(config))[0] == 0
    assert not (models / "mine.gguf").exists()


def test_a_model_of_the_cache_is_deleted_by_its_name(tmp_path: Path, command: Command) -> None:
    cached(tmp_path / "hub", "unsloth/gemma-3-1b-it-GGUF", {"gemma-3-1b-it-Q4_K_M.gguf": GGUF})
    assert command("rm", "gemma-1b", "-y")[0] == 0
    assert command("rm", "gemma-1b", "-y")[0] == USAGE_STATUS
    assert "gemma" not in command("list")[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["o/r"], "name one of o/r:Q4_K_M, o/r:Q8_0"),
        (["o/r:Q8_0"], "say --yes"),
        (["guide", "--yes"], "belongs to the program"),
        (["nothing", "--yes"], "`tui list` tells what there is"),
    ],
)
def test_what_is_not_to_be_deleted_is_told_in_one_sentence(
    tmp_path: Path, command: Command, words: list[str], says: str
) -> None:
    snapshot = cached(tmp_path / "hub", "o/r", {"m-Q4_K_M.gguf": GGUF, "m-Q8_0.gguf": GGUF + b"8"})
    code, out, err = command("rm", *words)
    assert (code, out) == (USAGE_STATUS, "")
    assert says in err
    assert len(list(snapshot.iterdir())) == 2


def test_a_model_that_is_not_here_says_how_to_get_it(command: Command) -> None:
    code, _, err = command("gemma-4b:8bit")
    assert code == USAGE_STATUS
    assert "`tui pull gemma-4b:8bit` downloads it." in err
