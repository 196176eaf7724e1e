"""What is said of each model is kept, within bounds, and told to those who follow."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from core.telemetry import model_log
from core.telemetry.log import get_logger
from core.telemetry.model_log import KEPT_LINES, MOST_LINE_CHARACTERS, ModelLine, ModelLogs, model_in_log, tell_said


@pytest.fixture
def logs() -> Iterator[ModelLogs]:
    logs = ModelLogs()
    logs.attach()
    yield logs
    logs.detach()


def test_lines_are_kept_by_the_model_that_they_name(logs: ModelLogs) -> None:
    log = get_logger("core.test")
    log.warning("one", model="a", slots=3, nothing=None)
    log.warning("two", model="b")
    log.warning("of none")
    assert [line.text for line in logs.read_lines("a")] == ["one slots=3"]
    assert [line.text for line in logs.read_lines()] == ["one slots=3", "two"]
    assert logs.read_lines("c") == []


def test_what_an_engine_says_is_its_model_s_and_stands_in_no_other_log(
    logs: ModelLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = ModelLogs()
    monkeypatch.setattr(logging.getLogger(), "handlers", [elsewhere])

    def serve() -> None:
        model_in_log.set("a")
        tell_said("offloaded 25/25 layers")
        tell_said("the file is odd", logging.WARNING)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    tell_said("said by nobody's engine")
    assert [(line.level, line.text) for line in logs.read_lines("a")] == [
        ("debug", "offloaded 25/25 layers"),
        ("warning", "the file is odd"),
    ]
    assert not elsewhere.read_lines()


def test_the_last_lines_of_a_model_are_kept_and_each_is_short_and_printable(logs: ModelLogs) -> None:
    log = get_logger("core.test")
    for number in range(KEPT_LINES + 5):
        log.warning("line", number=number, model="a")
    log.warning("\x1b[2J", what="x" * 1_000_000, model="b")
    lines = logs.read_lines("a")
    assert (len(lines), lines[0].text) == (KEPT_LINES, "line number=5")
    (long,) = logs.read_lines("b")
    assert len(long.text) < 2 * MOST_LINE_CHARACTERS
    assert "\x1b" not in long.text


def test_models_that_were_silent_for_longest_are_forgotten(logs: ModelLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_log, "MOST_MODELS", 2)
    log = get_logger("core.test")
    for model in ("a", "b", "a", "c"):
        log.warning("spoken of", model=model)
    assert [bool(logs.read_lines(model)) for model in ("a", "b", "c")] == [True, False, True]


def test_an_exception_is_told_in_its_line(logs: ModelLogs) -> None:
    try:
        raise ValueError("no such tensor")
    except ValueError:
        get_logger("core.test").exception("loading failed", model="a")
    assert logs.read_lines("a")[0].text == "loading failed: ValueError('no such tensor')"


def test_followers_are_told_of_each_line_until_they_leave(logs: ModelLogs) -> None:
    heard: list[ModelLine] = []
    log = get_logger("core.test")
    with logs.following(heard.append):
        log.warning("inside", model="a")
    log.warning("outside", model="a")
    assert [line.text for line in heard] == ["inside"]
