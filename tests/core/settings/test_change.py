"""The config file, changed by the workbench: what the user wrote there stays."""

from __future__ import annotations

import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from filelock import FileLock

from core.errors import ConfigError
from core.settings import change
from core.settings.change import append_value, change_config
from core.settings.load import load_settings

WRITTEN = """\
# my server
[server]
host = "127.0.0.1"  # here alone
port = 8080

[models.qwen]
source = "./qwen.gguf"
"""


def test_a_value_is_changed_and_all_else_stays_with_its_comments(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(WRITTEN)
    change_config(path, {("server", "port"): 9090, ("server", "cors_origins"): ("https://a.example",)})
    assert path.read_text() == WRITTEN.replace("port = 8080\n", 'port = 9090\ncors_origins = ["https://a.example"]\n')


def test_none_takes_a_value_out_and_other_tables_are_made(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(WRITTEN)
    change_config(path, {("server", "host"): None, ("ui", "theme"): "paper", ("models", "qwen", "pin"): True})
    settings = load_settings(config_file=path, environment={})
    assert (settings.server.port, settings.ui.theme, settings.models["qwen"].pin) == (8080, "paper", True)
    assert "here alone" not in path.read_text()
    assert "# my server" in path.read_text()


def test_settings_that_are_left_empty_stay_so(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[server]\nport = ""\n')
    change_config(path, {("ui", "theme"): "paper"})
    assert load_settings(config_file=path, environment={}).ui.theme == "paper"
    assert path.read_text().startswith('[server]\nport = ""\n')


def test_a_file_that_is_not_there_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.toml"
    change_config(path, {("server", "api_keys"): ("secret",), ("models", "tiny", "source"): "echo"})
    assert load_settings(config_file=path, environment={}).server.api_keys == ("secret",)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_tables_within_one_line_and_tables_that_lie_apart_are_changed_as_well(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("models = {tiny = {source = 'echo'}}\n")
    change_config(path, {("models", "tiny", "threads"): 2, ("models", "a b.c", "source"): "echo"})
    models = load_settings(config_file=path, environment={}).models
    assert (models["tiny"].threads, models["a b.c"].source) == (2, "echo")
    path.write_text("[models.a]\nsource = 'echo'\n[server]\nport = 1\n[models.b]\nsource = 'echo'  # mine\n")
    change_config(path, {("models", "c", "source"): "echo", ("models", "b", "threads"): 3})
    models = load_settings(config_file=path, environment={}).models
    assert ([*models], models["b"].threads) == (["a", "c", "b"], 3)
    assert "# mine" in path.read_text()


def test_of_two_that_write_at_once_neither_loses_what_it_wrote(tmp_path: Path) -> None:
    path, together = tmp_path / "config.toml", Barrier(8)

    def add(number: int) -> bool:
        together.wait()
        return append_value(path, ("library", "folders"), f"/models/{number}")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(add, range(8)))
    folders = load_settings(config_file=path, environment={}).library.folders
    assert sorted(folders) == [f"/models/{number}" for number in range(8)]


def test_a_file_that_somebody_else_does_not_let_go_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "LOCK_SECONDS", 0.01)
    path = tmp_path / "config.toml"
    with FileLock(tmp_path / ".config.toml.lock"), pytest.raises(ConfigError, match="changed by another program"):
        change_config(path, {("ui", "theme"): "paper"})
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        ("port = [", {("ui", "theme"): "paper"}, "is not TOML"),
        ("[server]\nprt = 1\n", {("ui", "theme"): "paper"}, "did you mean port?"),
        (WRITTEN, {("server", "port"): 70000}, "port"),
    ],
    ids=["no TOML", "wrong before", "wrong afterwards"],
)
def test_what_would_be_wrong_is_refused_and_the_file_stays(
    tmp_path: Path, text: str, changes: dict[tuple[str, ...], object], said: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        change_config(path, changes)
    assert path.read_text() == text
