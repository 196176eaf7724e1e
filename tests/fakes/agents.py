"""The echo engine as a model that does what coding agents are asked: it reads a file, changes it and says so."""

from __future__ import annotations

import json
import re
from typing import Final

from core.chat.chatml import CHATML_WITH_TOOLS
from core.engines.echo import EchoEngine

OLD: Final = "The cat sat."
NEW: Final = "The dog sat."
SAID: Final = "Now it is a dog that sat."
_FILE: Final = re.compile(r"FILE:([^\s\\\"'<>]+)")


def write_task(path: str) -> str:
    """What an agent is asked."""
    return f"Change what sat in FILE:{path} to a dog."


def write_notes(path: str) -> str:
    """The content of that file."""
    return f"FILE:{path}\n{OLD}\n"


def follow_task(said: str, read: str, edit: str, keys: tuple[str, str, str]) -> str:
    """`read` and `edit` are tools, `keys` the names of the arguments path, old text and new text."""
    found = _FILE.search(said)
    if found is None or NEW in said:
        return SAID
    path, old, new = keys
    if OLD in said:
        return _call(edit, {path: found[1], old: OLD, new: NEW})
    return _call(read, {path: found[1]}) if "<tool_response>" not in said else SAID


def _call(name: str, arguments: dict[str, str]) -> str:
    called = json.dumps({"name": name, "arguments": arguments})
    return f"<think>\nI see to it.\n</think>\n\nLet me see.\n<tool_call>\n{called}\n</tool_call>"


class ClaudeCodeEngine(EchoEngine):
    """Calls the tools of Claude Code."""

    def __init__(self) -> None:
        super().__init__(
            lambda said: follow_task(said, "Read", "Edit", ("file_path", "old_string", "new_string")),
            CHATML_WITH_TOOLS,
        )
