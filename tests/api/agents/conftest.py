"""Coding agents, each on one task: read a file, change it, say so.

They are looked for on the PATH and in BENCHTOP_TEST_AGENTS, a folder into which npm has installed them; a test says
that it is skipped where its program is not there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.engines.registry import Engines
from core.settings.model import ModelSettings
from tests.api.conftest import Served, serving, settings_of
from tests.fakes.agents import NEW, SAID, write_notes, write_task

FOLDER = "BENCHTOP_TEST_AGENTS"
AGENT_SECONDS = 100.0
"""After which an agent is ended."""
CONTEXT = 1_000_000
"""Tokens, which are bytes: what agents say of themselves and their tools is long."""


def find_program(name: str) -> Path:
    folder = os.environ.get(FOLDER)
    known = shutil.which(name, path=f"{folder}/node_modules/.bin") if folder else None
    found = known or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; {FOLDER} names a folder of npm's that has it")
    return Path(found)


@dataclass(frozen=True)
class AgentTask:
    """A file that is to be changed, in a home without settings, and a server whose model does it."""

    served: Served
    home: Path
    file: Path

    @property
    def words(self) -> str:
        return write_task(str(self.file))

    async def run(self, program: Path, *arguments: str, **variables: str) -> str:
        """What an agent prints. Of this process's environment it sees the PATH alone."""
        environment: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(self.home), **variables}
        child = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            cwd=self.file.parent,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(child.communicate(), AGENT_SECONDS)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return output.decode("utf-8", "replace")

    def check(self, output: str, said: Sequence[str] = (SAID,)) -> None:
        """The file is changed, and the agent says so."""
        assert NEW in self.file.read_text(encoding="utf-8"), output[-3000:]
        assert all(words in output for words in said), output[-3000:]


@asynccontextmanager
async def given_task(tmp_path: Path, engine: str, context: int = CONTEXT) -> AsyncIterator[AgentTask]:
    """`engine`: a class of `tests.fakes.agents`; `context`: tokens."""
    work = tmp_path / "work"
    work.mkdir()
    file = work / "notes.txt"
    file.write_text(write_notes(str(file)), encoding="utf-8")
    engines = Engines({"echo": f"tests.fakes.agents:{engine}"})
    settings = settings_of(model=ModelSettings(ctx_size=context, slots=4))
    async with serving(tmp_path / "served", settings, engines=engines) as served:
        yield AgentTask(served, tmp_path, file)
