"""Coding agents, each launched on one task: read a file, change it, say so.

They are looked for on the PATH and in BENCHTOP_TEST_AGENTS, a folder into which npm has installed them; a test says
that it is skipped where its program is not there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
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
OWN = {
    ".claude.json": '{"theme": "light"}',
    ".claude/settings.json": '{"env": {"ANTHROPIC_BASE_URL": "http://192.0.2.1"}}',
    ".codex/config.toml": 'model = "another"\n',
    ".config/git/config": "[user]\n",
    ".config/opencode/opencode.json": '{"model": "another/model"}',
    ".qwen/settings.json": '{"model": {"name": "another"}}',
    ".aider.conf.yml": "dark-mode: true\n",
}
"""What the user has set for them, which is not to be changed, and leads none of them elsewhere."""


def build_path() -> str:
    folder = os.environ.get(FOLDER)
    return os.pathsep.join(([f"{folder}/node_modules/.bin"] if folder else []) + [os.environ["PATH"]])


def require_program(name: str) -> None:
    if shutil.which(name, path=build_path()) is None:
        pytest.skip(f"{name} is not installed; {FOLDER} names a folder of npm's that has it")


@dataclass(frozen=True)
class AgentTask:
    """A file that is to be changed, in a home with settings of the user's, and a server whose model does it."""

    served: Served
    home: Path
    file: Path

    @property
    def words(self) -> str:
        return write_task(str(self.file))

    async def launch(self, program: str, *words: str) -> str:
        """What an agent prints. Of this process's environment it sees the PATH alone, and no proxy."""
        before = self._list_files()
        environment: Mapping[str, str] = {
            "PATH": build_path(),
            "HOME": str(self.home),
            "BENCHTOP_HOME": str(self.home.parent / "benchtop"),
        }
        port = str(self.served.server.port)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tui.cli.main", "launch", program, "echo", "--port", port, "--", *words),
            cwd=self.file.parent,
            # The agent's folder is no checkout.
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[4])},
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
        assert self._list_files() == before
        assert not [*(self.home.parent / "benchtop" / "cache" / "launch").iterdir()]
        return output.decode("utf-8", "replace")

    def _list_files(self) -> dict[Path, bytes]:
        """Of the home folder."""
        return {file: file.read_bytes() for file in self.home.rglob("*") if file.is_file()}

    def check(self, output: str, said: Sequence[str] = (SAID,)) -> None:
        """The file is changed, and the agent says so."""
        assert NEW in self.file.read_text(encoding="utf-8"), output[-3000:]
        assert all(words in output for words in said), output[-3000:]

    def count_prompts(self) -> tuple[int, int]:
        """Tokens of all prompts, and how many of them were in the cache."""
        (model,) = self.served.workbench.snapshot().models
        return model.cache.prompt_tokens, model.cache.cached_tokens


@asynccontextmanager
async def given_task(tmp_path: Path, engine: str, context: int = CONTEXT) -> AsyncIterator[AgentTask]:
    """`engine`: a class of `tests.fakes.agents`; `context`: tokens."""
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    for name, content in OWN.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content, encoding="utf-8")
    file = work / "notes.txt"
    file.write_text(write_notes(str(file)), encoding="utf-8")
    engines = Engines({"echo": f"tests.fakes.agents:{engine}"})
    settings = settings_of(model=ModelSettings(ctx_size=context, slots=4))
    async with serving(tmp_path / "served", settings, engines=engines) as served:
        yield AgentTask(served, home, file)
