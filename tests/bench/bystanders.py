"""What requests with very many tools, or with a schema or a grammar of a megabyte, do to a stream beside them.

The server, the client of the stream and the client of the large requests are processes of their own. What a short chat
does to the stream is the measure: it takes its share of each pass, as the large requests do once they are read. The
model's template tells it of tools, so that all of them are rendered and tokenised, and its context takes a text of that
many bytes, so that nothing is refused before. No context here takes a million tokens, and so the answer is that there
are too many; without tools in the template there is an answer.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from msgspec import Struct

from core.chat.chatml import CHATML, CHATML_WITH_TOOLS
from tests.bench.report import table
from tests.bench.served import ServedProcess, serve_tui
from tests.bench.streaming import StreamFigures, stream_answers
from tests.fakes.hostile import write_long_gbnf

TOOLS: Final = 10_000
SCHEMA_BYTES: Final = 1_000_000
GRAMMAR_CHARACTERS: Final = 999_000
CONTEXT: Final = 32_768
SECONDS: Final = 4.0
"""That the stream is to take, about."""
TRIED_TOKENS: Final = 200
MOST_TOKENS: Final = 16_000
SHOWN_CHARACTERS: Final = 90


class BystanderSetup(Struct, frozen=True):
    """The model that is served, the built-in one where none is named, and how it is computed."""

    model: Path | None
    threads: int
    extra_buffers: bool


class LargeRequest(Struct, frozen=True):
    path: str
    body: Mapping[str, Any]


class AgainReport(Struct, frozen=True):
    """As `tests.bench.again` prints it."""

    answers: int
    status: int
    said: str
    slowest: float


async def run(setup: BystanderSetup) -> str:
    """The tables, in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            await _measure(Path(folder), setup, name, template)
            for name, template in (("that tells of tools", CHATML_WITH_TOOLS), ("without tools", CHATML))
        ]
    return "\n".join(tables)


async def _measure(home: Path, setup: BystanderSetup, name: str, template: str) -> str:
    source = home / "template.jinja"
    source.write_text(template)
    words = ["--engine", "llamacpp", "--threads", str(setup.threads), "--batch-threads", str(setup.threads)]
    words += () if setup.extra_buffers else ("--no-extra-buffers",)
    sizes = ("--ctx-size", str(CONTEXT), "--slots", "2", "--draft", "none")
    rows: list[tuple[object, ...]] = []
    with serve_tui(home, str(setup.model or "guide"), *words, *sizes, "--chat-template", str(source)) as served:
        tried = await stream_answers(served.port, served.model, 1, TRIED_TOKENS)
        tokens = min(MOST_TOKENS, int(tried.rate * SECONDS))
        alone = await stream_answers(served.port, served.model, 1, tokens)
        rows.append(("nobody", None, None, None, *_tell_stream(alone, alone, None), ""))
        short: StreamFigures | None = None
        for what, request in _make_requests(served.model).items():
            seen, report = await _stream_beside(home, served, request, tokens)
            short = short or seen
            told = f"{report.status}: {_shorten(report)}"
            size = len(json.dumps(request.body)) / 1e6
            rows.append((what, size, report.answers, report.slowest, *_tell_stream(seen, alone, short), told))
        resident = psutil.Process(served.pid).memory_info().rss / 1e6
        title = f"A stream of {tokens:,} tokens of {served.model} beside others, a template {name}; {resident:.0f} MB"
    stream = ("tokens/s", "of alone", "of beside a short chat", "pause p99, ms", "longest, ms")
    return table(title, ("beside", "MB", "answers", "slowest, s", *stream, "told"), rows)


def _tell_stream(seen: StreamFigures, alone: StreamFigures, short: StreamFigures | None) -> tuple[float | None, ...]:
    """`short` is beside a short chat."""
    of_short = None if short is None else seen.rate / short.rate
    return seen.rate, seen.rate / alone.rate, of_short, 1e3 * seen.pause, 1e3 * seen.longest


def _shorten(report: AgainReport) -> str:
    try:
        said = json.loads(report.said)
        words = str(said["error"]["message"])
    except (ValueError, KeyError, TypeError):
        words = "an answer"
    return words[:SHOWN_CHARACTERS].replace("|", "/")


async def _stream_beside(
    home: Path, served: ServedProcess, request: LargeRequest, tokens: int
) -> tuple[StreamFigures, AgainReport]:
    """A stream while a client asks again and again."""
    file = home / "body.json"
    file.write_text(json.dumps(request.body))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.again", str(served.port), request.path, str(file)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        seen = await stream_answers(served.port, served.model, 1, tokens)
    finally:
        # Ends the client's input, and so the client.
        output, _ = await child.communicate(b"")
    return seen, msgspec.json.decode(output, type=AgainReport)


def _make_requests(model: str) -> Mapping[str, LargeRequest]:
    """By what they are. Each asks for one token."""
    said = [{"role": "user", "content": "Go."}]
    functions = [_make_function(number) for number in range(TOOLS)]
    chat = [{"type": "function", "function": each} for each in functions]
    flat = [{"type": "function", **each} for each in functions]
    anthropic = [
        {"name": each["name"], "description": each["description"], "input_schema": each["parameters"]}
        for each in functions
    ]
    wide = {"name": "wide", "description": "", "parameters": _make_wide_schema()}
    asked = {"model": model, "messages": said, "max_tokens": 1}
    form = {"type": "json_schema", "json_schema": {"name": "wide", "schema": wide["parameters"]}}
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "a short chat": ("/v1/chat/completions", {}),
        f"{TOOLS:,} tools, chat": ("/v1/chat/completions", {"tools": chat}),
        f"{TOOLS:,} tools, chat, required": ("/v1/chat/completions", {"tools": chat, "tool_choice": "required"}),
        f"{TOOLS:,} tools, Messages": ("/v1/messages", {"tools": anthropic}),
        "a tool of 1 MB, chat": ("/v1/chat/completions", {"tools": [{"type": "function", "function": wide}]}),
        "an answer's schema of 1 MB, chat": ("/v1/chat/completions", {"response_format": form}),
        "a GBNF grammar of 1 MB, chat": ("/v1/chat/completions", {"grammar": write_long_gbnf(GRAMMAR_CHARACTERS)}),
    }
    requests = {name: LargeRequest(path, {**asked, **more}) for name, (path, more) in made.items()}
    responses = {"model": model, "input": "Go.", "max_output_tokens": 1, "tools": flat}
    return {**requests, f"{TOOLS:,} tools, Responses": LargeRequest("/v1/responses", responses)}


def _make_function(number: int) -> dict[str, Any]:
    """As servers of tools describe theirs."""
    return {
        "name": f"find_records_{number}",
        "description": f"Find the records of table {number} that a condition holds for.",
        "parameters": {
            "type": "object",
            "properties": {
                "condition": {"type": "string", "description": "What must hold, in SQL."},
                "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
                "order": {"type": "string", "enum": ["ascending", "descending"]},
                "columns": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["condition"],
        },
    }


def _make_wide_schema() -> dict[str, Any]:
    properties: dict[str, Any] = {}
    size = 0
    while size < SCHEMA_BYTES:
        name = f"member_{len(properties)}"
        properties[name] = {"type": "string", "description": f"What member {len(properties)} of them is."}
        size += len(name) + len(json.dumps(properties[name]))
    return {"type": "object", "properties": properties, "required": ["member_0"]}
