"""Log lines: fields, request ids, and nothing on the screen of the terminal app."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from core.telemetry import log
from core.telemetry.log import LogLevel


@pytest.fixture(autouse=True)
def restored_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(path: Path | None) -> list[dict[str, object]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_terminal_apps_log_goes_to_a_file_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log.log_to_file(LogLevel.INFO, tmp_path / "state")
    log.get_logger("here").info("model loaded", model="guide", name="a field like an attribute of records")
    assert lines(path)[0] | {"timestamp": ""} == {
        "event": "model loaded",
        "level": "info",
        "logger": "here",
        "model": "guide",
        "name": "a field like an attribute of records",
        "timestamp": "",
    }
    assert capsys.readouterr() == ("", "")


def test_every_line_bears_the_id_of_its_request(tmp_path: Path) -> None:
    path = log.log_to_file(LogLevel.INFO, tmp_path)
    token = log.request_id.set("abc")
    log.get_logger("here").info("inside")
    log.request_id.reset(token)
    logging.getLogger("other").warning("outside %s", "it")
    assert [(line["event"], line.get("request_id")) for line in lines(path)] == [
        ("inside", "abc"),
        ("outside it", None),
    ]


def test_a_traceback_goes_to_the_log(tmp_path: Path) -> None:
    path = log.log_to_file(LogLevel.INFO, tmp_path)
    try:
        raise ValueError("broken")
    except ValueError as error:
        log.get_logger("here").exception("first")
        log.get_logger("here").error("second", cause=error)
    assert all("ValueError: broken" in str(line["exception"]) for line in lines(path))


def test_the_level_counts_and_noisy_libraries_are_quiet(tmp_path: Path) -> None:
    path = log.log_to_file(LogLevel.WARNING, tmp_path)
    log.get_logger("here").info("hidden")
    logging.getLogger("uvicorn.error").info("hidden")
    log.get_logger("here").warning("shown")
    assert [line["event"] for line in lines(path)] == ["shown"]


def test_loggers_of_structlog_itself_go_the_same_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log.log_to_file(LogLevel.INFO, tmp_path)
    structlog.get_logger("theirs").info("percent %s stays", model="guide")
    structlog.get_logger("theirs").debug("hidden")
    (line,) = lines(path)
    assert (line["event"], line["model"]) == ("percent %s stays", "guide")
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_cannot_be_made_means_no_log_rather_than_a_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert log.log_to_file(LogLevel.INFO, tmp_path / "file" / "state") is None
    log.get_logger("here").warning("unheard")
    assert capsys.readouterr() == ("", "")


def test_setting_it_up_again_replaces_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log.log_to_file(LogLevel.INFO, tmp_path)
    log.log_to_stderr(LogLevel.INFO)
    log.get_logger("here").info("told", answer=42)
    assert lines(path) == []
    assert "told" in (shown := capsys.readouterr().err)
    assert "answer=42" in shown
