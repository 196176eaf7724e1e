"""Requests and replies as people read and compare them: a line for each value, the answer as one text."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from core.capture.exchange import CapturedRequest, read_body

MOST_COMPARED_LINES: Final = 4000
"""That two requests may differ in and still be compared line by line; the time grows with the square."""
AROUND_LINES: Final = 2
"""Lines that are shown around what differs."""
_TEXTS: Final = frozenset(
    {"arguments", "content", "delta", "partial_json", "reasoning_content", "response", "text", "thinking"}
)
"""Members of replies, whole or in pieces, that hold the answer's text in one dialect or another."""
_REPEATS: Final = frozenset(
    f"response.{name}"
    for name in (
        "completed",
        "content_part.done",
        "created",
        "function_call_arguments.done",
        "in_progress",
        "incomplete",
        "output_item.done",
        "output_text.done",
        "reasoning_text.done",
    )
)
"""Events of Responses that tell once more what came in pieces."""


def list_lines(value: object) -> list[str]:
    """A JSON value as lines of `path: value`; the lines of longer texts follow their path, indented."""
    return list(_walk(value, ""))


def list_request_lines(exchange: CapturedRequest) -> list[str]:
    """What was asked, as lines; a body that is no JSON as its text."""
    body = read_body(exchange.body)
    if body is not None:
        # What could just be read may be nested too deeply to be written.
        with suppress(RecursionError):
            return list_lines(body)
    return exchange.body.decode("utf-8", "replace").splitlines()


def read_answer(exchange: CapturedRequest) -> str:
    """The text of the reply, thoughts and calls' arguments too, in the order in which they came; of an error, what it
    says; empty where there is none."""
    return "".join(text for event in _list_events(exchange) for text in _find_texts(event))


def compare_lines(before: Sequence[str], after: Sequence[str], names: tuple[str, str]) -> list[str]:
    """A unified diff; empty where nothing differs. Where too much does, a line says so, and each one's first lines
    follow."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    first = max(0, start - AROUND_LINES)
    kept = max(0, end - AROUND_LINES)
    old, new = before[first : len(before) - kept], after[first : len(after) - kept]
    if start == len(before) == len(after):
        return []
    if max(len(old), len(new)) > MOST_COMPARED_LINES:
        return [
            f"--- {names[0]}",
            f"+++ {names[1]}",
            f"@@ from line {start + 1} on, {len(old)} and {len(new)} lines differ: too many to be matched @@",
            *(f"-{line}" for line in old[: AROUND_LINES * 10]),
            *(f"+{line}" for line in new[: AROUND_LINES * 10]),
        ]
    found = difflib.unified_diff(old, new, *names, lineterm="", n=AROUND_LINES)
    return [_moved(line, first) for line in found]


def _moved(line: str, by: int) -> str:
    """A hunk's head, with the lines before what was compared counted."""
    if not line.startswith("@@ ") or not by:
        return line
    words = line.split()
    for number in (1, 2):
        sign, numbers = words[number][0], words[number][1:].split(",")
        words[number] = sign + ",".join([str(int(numbers[0]) + by), *numbers[1:]])
    return " ".join(words)


def _walk(value: object, path: str) -> Iterator[str]:
    match value:
        case dict() if value:
            for name, inner in value.items():
                yield from _walk(inner, f"{path}.{name}" if path else str(name))
        case list() if value:
            for number, inner in enumerate(value):
                yield from _walk(inner, f"{path}[{number}]")
        case str() if "\n" in value or len(value) > 80:
            yield f"{path}:"
            for line in value.split("\n"):
                yield f"  {line}"
        case str():
            yield f"{path}: {value}"
        case _:
            yield f"{path}: {json.dumps(value)}"


def _list_events(exchange: CapturedRequest) -> Iterator[object]:
    """The JSON values of a reply: of server-sent events, of lines, or the one there is."""
    if exchange.reply_type.startswith("text/event-stream"):
        for line in exchange.reply.split(b"\n"):
            if line.startswith(b"data:") and (value := read_body(line[5:])) is not None:
                yield value
    elif "ndjson" in exchange.reply_type:
        yield from (value for line in exchange.reply.splitlines() if (value := read_body(line)) is not None)
    elif (value := read_body(exchange.reply)) is not None:
        yield value


def _find_texts(event: object) -> Iterator[str]:
    if not isinstance(event, dict):
        return
    if event.get("type") in _REPEATS:
        return
    if isinstance(event.get("error"), dict | str):
        error = event["error"]
        yield str(error.get("message", "")) if isinstance(error, dict) else error
        return
    yield from _walk_texts(event)


def _walk_texts(value: object) -> Iterator[str]:
    match value:
        case dict():
            for name, inner in value.items():
                if isinstance(inner, str):
                    if name in _TEXTS:
                        yield inner
                elif name not in ("usage", "timings", "logprobs"):
                    yield from _walk_texts(inner)
        case list():
            for inner in value:
                yield from _walk_texts(inner)
