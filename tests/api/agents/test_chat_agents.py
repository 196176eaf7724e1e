"""opencode, Qwen Code and Cline over chat completions."""

from __future__ import annotations

import json
from pathlib import Path

from tests.api.agents.conftest import find_program, given_task


async def test_opencode_reads_a_file_changes_it_and_says_so(tmp_path: Path) -> None:
    program = find_program("opencode")
    async with given_task(tmp_path, "OpencodeEngine") as task:
        provider = {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": f"{task.served.server.url}/v1", "apiKey": "unused"},
            "models": {"echo": {"tool_call": True, "reasoning": True}},
        }
        config = {"provider": {"benchtop": provider}, "permission": {"edit": "allow"}, "autoupdate": False}
        output = await task.run(
            program,
            *("run", "--model", "benchtop/echo", "--title", "A task", task.words),
            OPENCODE_CONFIG_CONTENT=json.dumps(config),
            OPENCODE_DISABLE_MODELS_FETCH="1",
        )
    task.check(output)


async def test_qwen_code_reads_a_file_changes_it_and_says_so(tmp_path: Path) -> None:
    program = find_program("qwen")
    async with given_task(tmp_path, "QwenEngine") as task:
        output = await task.run(
            program,
            *("--auth-type", "openai", "--approval-mode", "auto-edit", task.words),
            OPENAI_BASE_URL=f"{task.served.server.url}/v1",
            OPENAI_API_KEY="unused",
            OPENAI_MODEL="echo",
        )
    task.check(output)


async def test_cline_reads_a_file_changes_it_and_says_so(tmp_path: Path) -> None:
    program = find_program("cline")
    async with given_task(tmp_path, "ClineEngine") as task:
        kept = ("--data-dir", str(task.home / "cline"))
        known = ("-p", "openai-compatible", "-b", f"{task.served.server.url}/v1", "-k", "unused", "-m", "echo")
        await task.run(program, "auth", *known, *kept)
        output = await task.run(program, "--json", *kept, "-P", "openai-compatible", "-m", "echo", task.words)
    task.check(output)
