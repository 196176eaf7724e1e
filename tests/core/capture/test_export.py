"""Captured requests as lines for a shell, and as scenarios."""

import json
import shlex
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.capture.export import format_captured_curl, make_scenario, read_scenario, write_scenario
from core.errors import UsageError
from tests.fakes.captured import exchange_of

HOSTILE = {"model": "a'b $(rm) `x` \"\n\x1b[31m", "messages": [{"content": "ü"}]}


@pytest.mark.skipif(sys.platform == "win32", reason="cmd.exe quotes in another way")
def test_a_curl_line_sends_the_same_body_and_is_plain_text() -> None:
    sent = replace(exchange_of("one", HOSTILE), headers={"anthropic-version": "2023-06-01", "user-agent": "tests"})
    line = format_captured_curl(sent, "http://127.0.0.1:8080", key_variable="KEY")
    assert line.isprintable()
    assert line.isascii()
    line, _, key = line.rpartition(" -H ")
    assert key == '"Authorization: Bearer $KEY"'
    words = shlex.split(line)
    assert words[:2] == ["curl", "http://127.0.0.1:8080/v1/chat/completions"]
    assert "anthropic-version: 2023-06-01" in words
    assert "user-agent: tests" not in words
    assert json.loads(words[-1]) == HOSTILE


def test_a_scenario_has_the_requests_in_their_order_with_the_time_between_them(tmp_path: Path) -> None:
    later, first = exchange_of("b", {"n": 2}, began=1_002.5), exchange_of("a", {"n": 1}, began=1_000.0)
    steps = make_scenario([later, first])
    assert [(step.at, step.body) for step in steps] == [(0.0, {"n": 1}), (2.5, {"n": 2})]
    path = tmp_path / "scenario.jsonl"
    path.write_bytes(write_scenario(steps))
    assert read_scenario(path) == steps


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "no requests"),
        (b"\n\n", "no requests"),
        (b"{", "line 1"),
        (b'{"at": 0, "path": "/v1", "body": {}}\n{"at": "soon", "path": "/v1", "body": {}}', "line 2"),
        (b'{"at": 0, "path": "v1", "body": {}}', "slash"),
        (b'{"at": -1, "path": "/v1", "body": {}}', "negative"),
        (b'{"at": 0, "path": "/v1", "body": {}, "host": "elsewhere"}', "host"),
        (b'{"at": 0, "path": "/v1", "body": ' + b"[" * 100_000, "line 1"),
        (b"\xff", "line 1"),
    ],
)
def test_what_is_no_scenario_is_told_by_its_line(tmp_path: Path, text: bytes, why: str) -> None:
    path = tmp_path / "scenario.jsonl"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=why):
        read_scenario(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_scenario(tmp_path)


def test_what_was_not_kept_whole_or_is_no_object_cannot_be_sent_again() -> None:
    cut = replace(exchange_of("one"), body_bytes=10**6)
    for act in (lambda: make_scenario([cut]), lambda: format_captured_curl(cut, "http://x", key_variable=None)):
        with pytest.raises(UsageError, match="--capture-size"):
            act()
    listed = replace(exchange_of("one"), body=b"[]", body_bytes=2)
    with pytest.raises(UsageError, match="no JSON object"):
        make_scenario([listed])
