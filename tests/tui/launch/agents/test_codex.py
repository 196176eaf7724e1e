"""Codex over OpenAI's Responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.agents import SAID
from tests.tui.launch.agents.conftest import given_task, require_program

UNASKED = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
PLAIN_HTTP = ("-c", "model_providers.benchtop.supports_websockets=false")


@pytest.mark.parametrize("words", [(), PLAIN_HTTP], ids=["websocket", "http"])
async def test_codex_reads_a_file_changes_it_and_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    require_program("codex")
    async with given_task(tmp_path, "CodexEngine") as task:
        output = await task.launch("codex", *words, "exec", "--json", *UNASKED, task.words)
    task.check(output)
    told = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    said = [event["item"] for event in told if event["type"] == "item.completed"]
    assert [item["text"] for item in said if item["type"] == "agent_message"][-1] == SAID
    assert [item["text"] for item in said if item["type"] == "reasoning"] == ["I see to it."] * 2
    usage = next(event["usage"] for event in told if event["type"] == "turn.completed")
    # The second and third prompt began as the one before.
    assert usage["cached_input_tokens"] > 0.5 * usage["input_tokens"]
