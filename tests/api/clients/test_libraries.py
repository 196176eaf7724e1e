"""Libraries that applications talk to OpenAI with, unchanged: tools, thoughts, streams, structured output.

BENCHTOP_TEST_CLIENTS names a folder with `venv`, into which they have been installed from PyPI, and `node_modules`,
from npm; a test says that it is skipped where its library is not there.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import PATIENCE, Served
from tests.api.openai.test_tools import SCHEMA, WEATHER

pytestmark = pytest.mark.asyncio(loop_scope="session")

FOLDER = "BENCHTOP_TEST_CLIENTS"
PROGRAMS = Path(__file__).parent / "programs"
CITY = {"city": "Bonn"}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Bonn"}}\n</tool_call>'
THOUGHTFUL = f"<think>\nhm\n</think>\n\n{CALL}"


def find_folder(package: str, *places: str) -> Path:
    folder = Path(os.environ.get(FOLDER) or "/nonexistent")
    if not any(list(folder.glob(f"{place}/{package}")) for place in places):
        pytest.skip(f"{package} is not installed; {FOLDER} names no folder that has it")
    return folder


async def use(served: Served, program: str, package: str, call: str) -> dict[str, Any]:
    """What a program prints that uses a library on a server."""
    schema = {**SCHEMA, "additionalProperties": False}
    task = {"url": served.server.url, "call": call, "json": json.dumps(CITY), "tool": WEATHER, "schema": schema}
    environment = {"PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": os.environ["HOME"]}
    if program.endswith(".py"):
        folder = find_folder(package, "venv/lib/*/site-packages")
        command = [str(folder / "venv/bin/python"), str(PROGRAMS / program)]
    else:
        folder = find_folder(package, "node_modules")
        # Packages are looked for beside the file that imports them.
        copy = folder / program
        copy.write_text((PROGRAMS / program).read_text())
        command = ["node", str(copy)]
    child = await asyncio.create_subprocess_exec(
        *command, json.dumps(task), env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(3 * PATIENCE):
        out, said = await child.communicate()
    assert child.returncode == 0, said.decode()[-4000:]
    told: dict[str, Any] = json.loads(out.decode().strip().splitlines()[-1])
    return told


async def test_openai_for_javascript(caller: Served) -> None:
    told = await use(caller, "use_openai.mjs", "openai", CALL)
    assert told["called"] == told["streamed"] == {"name": "weather", "arguments": '{"city": "Bonn"}'}
    assert (told["reason"], told["answer"], told["run"]) == ("tool_calls", "It says: Rain.", "It says: Snow.")
    assert told["usage"] > 0
    assert told["parsed"] == CITY


async def test_the_ai_sdk(caller: Served) -> None:
    told = await use(caller, "use_ai_sdk.mjs", "@ai-sdk/openai-compatible", THOUGHTFUL)
    assert told["called"] == [{"name": "weather", "input": CITY}]
    assert (told["thought"], told["reason"]) == ("hm", "tool-calls")
    assert told["answer"] == told["streamed"] == "It says: Rain in Bonn."
    assert {"reasoning-delta", "tool-call", "tool-result", "text-delta"} <= set(told["kinds"])
    assert told["usage"]
    assert told["forced"] == told["object"] == CITY


async def test_litellm(caller: Served) -> None:
    told = await use(caller, "use_litellm.py", "litellm", THOUGHTFUL)
    assert told["called"] == told["streamed"] == {"name": "weather", "arguments": '{"city": "Bonn"}'}
    assert (told["thought"], told["streamed_thought"], told["reason"]) == ("hm", "hm", "tool_calls")
    assert told["parsed"] == CITY


async def test_langchain(caller: Served) -> None:
    told = await use(caller, "use_langchain.py", "langchain_openai", CALL)
    assert told["called"] == told["streamed"] == ["weather", CITY]
    assert told["answer"] == "It says: Rain."
    assert told["by_schema"] == told["by_call"] == CITY
    assert told["usage"]


async def test_pydantic_ai(caller: Served) -> None:
    told = await use(caller, "use_pydantic_ai.py", "pydantic_ai", THOUGHTFUL)
    assert told["answer"] == told["streamed"] == "It says: Rain in Bonn."
    assert told["thoughts"] == ["hm"]
    assert told["by_tool"] == told["by_schema"] == CITY


async def test_instructor(caller: Served) -> None:
    told = await use(caller, "use_instructor.py", "instructor", CALL)
    assert told == {"TOOLS": CITY, "JSON": CITY, "JSON_SCHEMA": CITY}


OLLAMA = {
    "called": ["weather", CITY],
    "thought": "hm",
    "answer": "It says: Rain.",
    "streamed": [["weather", CITY]],
    "streamed_thought": "hm",
    "last": [True, "stop", True, True],
    "parsed": CITY,
    "listed": ["echo:latest"],
    "shown": ["completion", "tools", "thinking"],
    "running": ["echo:latest"],
    "failure": 404,
}


async def test_ollama_for_python(caller: Served) -> None:
    told = await use(caller, "use_ollama.py", "ollama", THOUGHTFUL)
    assert told == OLLAMA | {"generated": ["one", "two"], "grown": True}


async def test_ollama_for_javascript(caller: Served) -> None:
    told = await use(caller, "use_ollama.mjs", "ollama", THOUGHTFUL)
    assert told == OLLAMA | {"generated": "one"}
