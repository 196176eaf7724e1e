"""Codex over OpenAI's Responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.agents.conftest import find_program, given_task
from tests.fakes.agents import SAID

PROVIDER = '{{name="benchtop",base_url="{url}/v1",wire_api="responses",supports_websockets={sockets}}}'


@pytest.mark.parametrize("sockets", ["false", "true"])
async def test_codex_reads_a_file_changes_it_and_says_so(tmp_path: Path, sockets: str) -> None:
    program = find_program("codex")
    home = tmp_path / "codex"
    home.mkdir()
    async with given_task(tmp_path, "CodexEngine") as task:
        provider = PROVIDER.format(url=task.served.server.url, sockets=sockets)
        output = await task.run(
            program,
            *("exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", "echo"),
            *("-c", "model_provider=benchtop", "-c", f"model_providers.benchtop={provider}", task.words),
            CODEX_HOME=str(home),
        )
    task.check(output)
    told = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    said = [event["item"] for event in told if event["type"] == "item.completed"]
    assert [item["text"] for item in said if item["type"] == "agent_message"][-1] == SAID
    assert [item["text"] for item in said if item["type"] == "reasoning"] == ["I see to it."] * 2
    usage = next(event["usage"] for event in told if event["type"] == "turn.completed")
    # The second and third prompt began as the one before.
    assert usage["cached_input_tokens"] > 0.5 * usage["input_tokens"]
