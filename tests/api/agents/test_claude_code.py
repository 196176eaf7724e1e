"""Claude Code over Anthropic's Messages."""

from __future__ import annotations

import json
from pathlib import Path

from tests.api.agents.conftest import AgentTask, find_program, given_task
from tests.fakes.agents import SAID


async def ask_claude(task: AgentTask) -> str:
    return await task.run(
        find_program("claude"),
        *("-p", task.words, "--permission-mode", "acceptEdits", "--output-format", "json"),
        ANTHROPIC_BASE_URL=task.served.server.url,
        ANTHROPIC_API_KEY="unused",
        ANTHROPIC_MODEL="echo",
        ANTHROPIC_DEFAULT_HAIKU_MODEL="echo",
        CLAUDE_CONFIG_DIR=str(task.home / "claude"),
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        DISABLE_AUTOUPDATER="1",
    )


async def test_claude_code_reads_a_file_changes_it_and_says_so(tmp_path: Path) -> None:
    find_program("claude")
    async with given_task(tmp_path, "ClaudeCodeEngine") as task:
        output = await ask_claude(task)
    task.check(output)
    told = json.loads(output)
    assert told["result"] == SAID
    assert told["num_turns"] == 3
    # The second and third prompt began as the one before.
    assert told["usage"]["cache_read_input_tokens"] > 1.5 * told["usage"]["input_tokens"]


async def test_claude_code_understands_that_a_prompt_is_too_long(tmp_path: Path) -> None:
    find_program("claude")
    async with given_task(tmp_path, "ClaudeCodeEngine", context=16_384) as task:
        told = json.loads(await ask_claude(task))
    assert told["is_error"]
    # These are its own words, with the numbers of ours.
    assert told["result"].startswith("Prompt is too long")
    assert "limit 16383" in told["result"]
