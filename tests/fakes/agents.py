"""The echo engine as a model that does what coding agents are asked: it reads a file, changes it and says so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
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


def follow_task(said: str, read: str, edit: str, keys: tuple[str, str, str], listed: str = "") -> str:
    """`read` and `edit` are tools, `keys` the names of the arguments path, old text and new text; `listed`: under which
    name `read` takes a list of them."""
    found = _FILE.search(said)
    if found is None or NEW in said:
        return SAID
    path, old, new = keys
    if OLD in said:
        return _call(edit, {path: found[1], old: OLD, new: NEW})
    if "<tool_response>" in said:
        return SAID
    return _call(read, {listed: [{path: found[1]}]} if listed else {path: found[1]})


def _call(name: str, arguments: Mapping[str, object]) -> str:
    called = json.dumps({"name": name, "arguments": arguments})
    return f"<think>\nI see to it.\n</think>\n\nLet me see.\n<tool_call>\n{called}\n</tool_call>"


class ClaudeCodeEngine(EchoEngine):
    """Calls the tools of Claude Code."""

    def __init__(self) -> None:
        super().__init__(
            lambda said: follow_task(said, "Read", "Edit", ("file_path", "old_string", "new_string")),
            CHATML_WITH_TOOLS,
        )


class OpencodeEngine(EchoEngine):
    """Calls those of opencode."""

    def __init__(self) -> None:
        super().__init__(
            lambda said: follow_task(said, "read", "edit", ("filePath", "oldString", "newString")), CHATML_WITH_TOOLS
        )


class QwenEngine(EchoEngine):
    """Calls those of Qwen Code."""

    def __init__(self) -> None:
        super().__init__(
            lambda said: follow_task(said, "read_file", "edit", ("file_path", "old_string", "new_string")),
            CHATML_WITH_TOOLS,
        )


class ClineEngine(EchoEngine):
    """Calls those of Cline."""

    def __init__(self) -> None:
        super().__init__(
            lambda said: follow_task(said, "read_files", "editor", ("path", "old_text", "new_text"), "files"),
            CHATML_WITH_TOOLS,
        )


def follow_task_in_shell(said: str) -> str:
    """As `follow_task`, by a tool that runs commands."""
    found = _FILE.search(said)
    if found is None or NEW in said:
        return SAID
    patch = f"*** Begin Patch\n*** Update File: {found[1]}\n@@\n-{OLD}\n+{NEW}\n*** End Patch"
    command = f"apply_patch <<'EOF'\n{patch}\nEOF" if OLD in said else f"cat {found[1]}"
    return _call("exec_command", {"cmd": command})


class CodexEngine(EchoEngine):
    """Calls the tools of Codex."""

    def __init__(self) -> None:
        super().__init__(follow_task_in_shell, CHATML_WITH_TOOLS)


def write_whole_file(said: str) -> str:
    """As aider has files changed that a model is no master of: the whole file, under its name."""
    found = _FILE.search(said)
    if found is None or NEW in said:
        return SAID
    return f"{Path(found[1]).name}\n```\n{write_notes(found[1]).replace(OLD, NEW)}```\n"


class AiderEngine(EchoEngine):
    """Writes whole files, as aider reads them."""

    def __init__(self) -> None:
        super().__init__(write_whole_file, CHATML_WITH_TOOLS)
