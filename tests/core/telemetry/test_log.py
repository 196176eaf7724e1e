"""What others named is on a line of the log as text: no line is forged, no terminal obeys."""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.telemetry import log
from core.telemetry.log import LogLevel

NAME = "m\x1b]0;owned\x07\x1b[2J\x9b2J\x7f\u202e\udcff\nforged line"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def _obeyed(text: str) -> set[str]:
    return {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs", "Cf") and sign != "\n"}


def _say() -> None:
    logger = log.get_logger("test")
    logger.warning("loaded", model=NAME, path=Path(NAME), several=[NAME])
    logging.getLogger("somebody.else").warning("GET %s", NAME)
    try:
        raise ValueError(NAME)
    except ValueError as error:
        logger.error("went wrong", cause=error)


def test_lines_for_people_hold_what_was_named_as_escapes(capfd: pytest.CaptureFixture[str]) -> None:
    log.log_to_stderr(LogLevel.INFO)
    _say()
    told = capfd.readouterr().err
    assert not _obeyed(told)
    assert told.count(r"\x1b]0;owned") == 5
    assert r"\x9b2J\x7f\u202e\xff\nforged line" in told
    assert "ValueError" in told


def test_the_file_of_the_app_is_json_without_anything_a_terminal_obeys(tmp_path: Path) -> None:
    path = log.log_to_file(LogLevel.INFO, tmp_path)
    assert path is not None
    _say()
    written = path.read_text(encoding="utf-8")
    assert not _obeyed(written)
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["event"] for line in lines] == ["loaded", f"GET {NAME}", "went wrong"]
    assert lines[0]["model"] == NAME


def test_lines_for_people_have_their_fields_in_the_order_they_were_given_and_none_that_says_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    log.log_to_stderr(LogLevel.INFO)
    log.get_logger("core.somewhere").info("told", second=2, first=1, nothing=None)
    assert capfd.readouterr().err.endswith("second=2 first=1\n")
