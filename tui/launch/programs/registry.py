"""The programs that can be launched, by name. A further one is an entry here."""

from __future__ import annotations

import shutil
from typing import Final

from core.errors import UsageError
from tui.launch.program import Launchable
from tui.launch.programs.aider import AIDER
from tui.launch.programs.claude import CLAUDE
from tui.launch.programs.cline import CLINE
from tui.launch.programs.codex import CODEX
from tui.launch.programs.llm import LLM
from tui.launch.programs.opencode import OPENCODE
from tui.launch.programs.qwen import QWEN

PROGRAMS: Final = (CLAUDE, CODEX, OPENCODE, QWEN, CLINE, AIDER, LLM)


def find_program(name: str) -> Launchable:
    """Raises UsageError, which names what there is."""
    for program in PROGRAMS:
        if program.name == name:
            return program
    there = ", ".join(program.name for program in PROGRAMS)
    raise UsageError(f"There is no program {name!r} to launch; there is {there}.")


def find_command(program: Launchable) -> str:
    """The path of its file. Raises UsageError, which says how it is installed."""
    found = shutil.which(program.command)
    if found is None:
        raise UsageError(
            f"{program.title} is not installed: no {program.command} is on the PATH; `{program.install}` installs it."
        )
    return found
