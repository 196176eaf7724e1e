"""opencode, Qwen Code, Cline, aider and llm over chat completions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.agents import SAID
from tests.tui.launch.agents.conftest import given_task, require_program

AGENTS = {
    "opencode": ("OpencodeEngine", ("run",)),
    "qwen": ("QwenEngine", ("--approval-mode", "auto-edit")),
    "cline": ("ClineEngine", ("--json",)),
}


@pytest.mark.parametrize("program", AGENTS)
async def test_an_agent_reads_a_file_changes_it_and_says_so(tmp_path: Path, program: str) -> None:
    require_program(program)
    engine, words = AGENTS[program]
    async with given_task(tmp_path, engine) as task:
        output = await task.launch(program, *words, task.words)
        prompts, cached = task.count_prompts()
    task.check(output)
    # The second and third prompt began as the one before.
    assert cached > 0.5 * prompts


async def test_aider_changes_a_file(tmp_path: Path) -> None:
    require_program("aider")
    async with given_task(tmp_path, "AiderEngine") as task:
        quiet = ("--yes-always", "--no-git", "--no-stream", "--no-pretty")
        output = await task.launch("aider", *quiet, "--message", task.words, str(task.file))
    task.check(output, ("Applied edit to notes.txt",))


async def test_llm_says_what_the_model_says(tmp_path: Path) -> None:
    require_program("llm")
    async with given_task(tmp_path, "ClineEngine") as task:
        assert SAID in await task.launch("llm", "Say it.")
