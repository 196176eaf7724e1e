"""Claude Code over Anthropic's Messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes.agents import SAID
from tests.tui.launch.agents.conftest import AgentTask, given_task, require_program


async def ask_claude(task: AgentTask) -> tuple[str, dict[str, Any]]:
    """What is printed, and the result in it."""
    output = await task.launch(
        "claude", "-p", task.words, "--permission-mode", "acceptEdits", "--output-format", "json"
    )
    return output, json.loads(output.strip().splitlines()[-1])


async def test_claude_code_reads_a_file_changes_it_and_says_so(tmp_path: Path) -> None:
    require_program("claude")
    async with given_task(tmp_path, "ClaudeCodeEngine") as task:
        output, told = await ask_claude(task)
    task.check(output)
    assert told["result"] == SAID
    assert told["num_turns"] == 3
    # The second and third prompt began as the one before.
    assert told["usage"]["cache_read_input_tokens"] > 1.5 * told["usage"]["input_tokens"]
    assert told["modelUsage"]["echo"]["contextWindow"] == 1_000_000


async def test_claude_code_understands_that_a_prompt_is_too_long(tmp_path: Path) -> None:
    require_program("claude")
    async with given_task(tmp_path, "ClaudeCodeEngine", context=24_576) as task:
        _, told = await ask_claude(task)
    assert told["is_error"]
    # These are its own words, with the numbers of ours.
    assert told["result"].startswith("Prompt is too long")
    assert "limit 24575" in told["result"]
