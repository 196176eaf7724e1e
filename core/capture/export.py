"""Captured requests in forms that go on elsewhere: a line for a shell, a scenario that can be replayed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.capture.exchange import SOCKET_METHOD, CapturedRequest, read_body
from core.errors import UsageError
from core.files import read_regular

MOST_SCENARIO_BYTES: Final = 1 << 30
CREATE: Final = "response.create"
"""The type of those messages of WebSockets that can be asked over HTTP."""
FRAMING: Final = ("type", "stream_id", "generate")
"""What only messages of WebSockets have."""
SENT_HEADERS: Final = ("anthropic-version", "anthropic-beta", "openai-beta")
"""Those of a captured request that are sent with it again."""


class ScenarioStep(Struct, frozen=True, forbid_unknown_fields=True):
    """A request of a scenario."""

    at: float
    """Seconds after the first one."""
    path: str
    body: dict[str, object]
    headers: dict[str, str] = {}


def format_captured_curl(exchange: CapturedRequest, url: str, *, key_variable: str | None) -> str:
    """A line that asks the server `url` (without a path) the same again, for this system's shell. `key_variable`: of
    the environment, where the server wants a key. Raises UsageError where the body was not kept whole."""
    _require_whole(exchange)
    if exchange.method == SOCKET_METHOD:
        exchange = replace(exchange, body=msgspec.json.encode(_require_object(exchange)))
    words = ["curl", f"{url}{exchange.path}", "-H", "Content-Type: application/json"]
    for name, value in select_headers(exchange).items():
        words += ["-H", f"{name}: {value}"]
    body = read_body(exchange.body)
    # In ASCII, so that no character is anything else to a terminal.
    words += ["--data-binary", json.dumps(body) if body is not None else exchange.body.decode("utf-8", "replace")]
    if sys.platform == "win32":
        line = subprocess.list2cmdline(words)
        return line + (f' -H "Authorization: Bearer %{key_variable}%"' if key_variable else "")
    return shlex.join(words) + (f' -H "Authorization: Bearer ${key_variable}"' if key_variable else "")


def select_headers(exchange: CapturedRequest) -> dict[str, str]:
    """Those of its headers that mean something to whoever is asked again."""
    return {name: exchange.headers[name] for name in SENT_HEADERS if name in exchange.headers}


def make_scenario(exchanges: Iterable[CapturedRequest]) -> list[ScenarioStep]:
    """The requests in the order in which they came, with the time between them. Raises UsageError for one whose body
    was not kept whole, or is no JSON object."""
    ordered = sorted(exchanges, key=lambda each: each.began)
    return [
        ScenarioStep(round(each.began - ordered[0].began, 3), each.path, _require_object(each), select_headers(each))
        for each in ordered
    ]


def write_scenario(steps: Sequence[ScenarioStep]) -> bytes:
    """A line of JSON for each request."""
    return b"".join(msgspec.json.encode(step) + b"\n" for step in steps)


def read_scenario(path: Path) -> list[ScenarioStep]:
    """What `write_scenario` wrote. Raises UsageError, which names the line."""
    try:
        lines = read_regular(path, MOST_SCENARIO_BYTES).splitlines()
    except OSError as error:
        raise UsageError(f"The scenario {path} cannot be read: {error.strerror or error}.") from error
    steps = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            step = msgspec.json.decode(line, type=ScenarioStep)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise UsageError(f"{path}, line {number} is no request of a scenario: {error}.") from error
        if not step.path.startswith("/") or step.at < 0:
            raise UsageError(f"{path}, line {number}: `path` begins with a slash, and `at` is not negative.")
        steps.append(step)
    if not steps:
        raise UsageError(f"The scenario {path} has no requests.")
    return sorted(steps, key=lambda step: step.at)


def _require_whole(exchange: CapturedRequest) -> None:
    if not exchange.is_whole:
        raise UsageError(
            f"Of the request {exchange.request_id}, {len(exchange.body):,} of {exchange.body_bytes:,} bytes were kept, "
            "so it cannot be sent again; a larger --capture-size keeps more."
        )


def _require_object(exchange: CapturedRequest) -> dict[str, object]:
    _require_whole(exchange)
    body = read_body(exchange.body)
    if not isinstance(body, dict):
        raise UsageError(f"The request {exchange.request_id} is no JSON object, so it cannot be sent again.")
    return _drop_framing(exchange, body) if exchange.method == SOCKET_METHOD else body


def _drop_framing(exchange: CapturedRequest, message: dict[str, object]) -> dict[str, object]:
    """The body by which the same is asked over HTTP."""
    if message.get("type") != CREATE:
        raise UsageError(
            f"The request {exchange.request_id} is a message that means something to its WebSocket alone, so it cannot "
            "be sent again."
        )
    return {name: value for name, value in message.items() if name not in FRAMING} | {"stream": True}
