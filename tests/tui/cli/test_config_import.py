"""`tui config import` writes the TOML file once, tells what it leaves out, and overwrites nothing unasked."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from core.settings.load import load_settings
from tui.cli.main import USAGE_STATUS, main

SERVER = {
    "server": {"port": 8000},
    "model": {"alias": 'a "b"', "path": "/models/m.gguf", "n_ctx": 4096, "n_seq_max": 8, "embedding": True},
}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path / "home"))
    path = tmp_path / "server.json"
    path.write_text(json.dumps(SERVER))
    return path


def test_a_config_is_written_and_read_from_then_on(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "import", str(source)]) == 0
    told = capsys.readouterr()
    target = tmp_path / "home" / "config" / "config.toml"
    assert str(target) in told.out
    assert told.err == "tui: model.embedding is not taken over: a model's file tells whether it embeds.\n"
    assert "# model.embedding is not taken over" in target.read_text()
    settings = load_settings(environment={})
    assert settings.server.port == 8000
    profile = settings.models['a "b"']
    assert (profile.source, profile.ctx_size, profile.slots) == ("/models/m.gguf", 4096, 8)


def test_a_file_that_is_there_is_replaced_only_when_that_is_said(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine.toml"
    target.write_text("[server]\nport = 1\n")
    words = ["config", "import", str(source), "-C", str(target)]
    assert main(words) == USAGE_STATUS
    assert f"The config file {target} is there already; --force replaces it" in capsys.readouterr().err
    assert target.read_text() == "[server]\nport = 1\n"
    assert main([*words, "--force"]) == 0
    assert load_settings(config_file=target, environment={}).server.port == 8000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"path": "m.gguf", "n_cxt": 1}}, "model.n_cxt is unknown; did you mean n_ctx?"),
        ({"server": {"prot": 1}}, "server.prot is unknown; did you mean port?"),
        ({"model": {"alias": "m", "use_mmap": True}}, "model wants either path or from_pretrained"),
        ([], "holds no object of sections"),
    ],
)
def test_a_wrong_file_is_told_and_nothing_is_written(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str], content: object, said: str
) -> None:
    source.write_text(json.dumps(content))
    assert main(["config", "import", str(source)]) == USAGE_STATUS
    assert said in capsys.readouterr().err
    assert not (tmp_path / "home" / "config").exists()


def test_what_a_note_quotes_cannot_become_a_setting(tmp_path: Path, source: Path) -> None:
    wanted = {"repo_id": "owner/name", "filename": "m.gguf", "additional_files": ["x\n[server]\nport = 1"]}
    source.write_text(json.dumps({"model": {"alias": "m", "from_pretrained": wanted}}))
    assert main(["config", "import", str(source)]) == 0
    written = msgspec.toml.decode((tmp_path / "home" / "config" / "config.toml").read_text())
    assert written.keys() == {"models"}


def test_json_in_the_layout_of_the_settings_is_taken_over_as_it_is(tmp_path: Path, source: Path) -> None:
    ours = {"server": {"port": 9000, "cors_origins": ["null"]}, "models": {"q": {"sampling": {"top_k": 5}}, "r": {}}}
    source.write_text(json.dumps(ours))
    target = tmp_path / "ours.toml"
    assert main(["config", "import", str(source), "-C", str(target)]) == 0
    assert msgspec.toml.decode(target.read_text()) == ours


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "config.toml"
    assert main(["config", "import", str(source), "-C", str(target)]) != 0
    assert f"The config file {target} cannot be written" in capsys.readouterr().err
