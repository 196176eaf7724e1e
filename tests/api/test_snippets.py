"""Short programs to paste: each is run as it is shown, against a real server with a model of each kind."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from api.curl import KEY_VARIABLE, RECORDING
from api.snippets import NO_KEY, ServedAt, write_snippets
from core.settings.schema import ProbeSettings, ServerSettings, Settings
from core.snapshots import ModelKind
from tests.api.conftest import Served, serving
from tests.fakes.bert import write_embedder, write_reranker
from tests.fakes.speech import encoded, tone, write_whisper

ODD = 'it\'s "a" ${name} `id` \\ ünï \U0001f600'
KEY = "not anybody's business"
MODELS = {
    ModelKind.CHAT: ("echo", "What is a KV cache?"),
    ModelKind.EMBEDDING: ("vectors", "0."),
    ModelKind.RERANKING: ("judge", "0."),
    ModelKind.TRANSCRIPTION: ("tiny", "hello world"),
}
"""A model of each kind, and what is in its answer."""
COMMANDS: dict[str, Callable[[str], tuple[str, ...]]] = {
    "curl": lambda text: ("sh", "-c", text.replace("curl ", "curl -sS --fail ", 1)),
    "Python": lambda text: (sys.executable, "-c", text),
    "JavaScript": lambda text: ("node", "--input-type=module", "-e", text),
}

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(sys.platform == "win32", reason="the quoting of POSIX shells"),
]


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("models")
    (folder / RECORDING).write_bytes(encoded(tone()))
    settings = Settings(server=ServerSettings(port=0, api_keys=(KEY,)), probe=ProbeSettings(enabled=False))
    async with serving(folder, settings) as started:
        for path in (
            write_embedder(folder / "vectors"),
            write_reranker(folder / "judge"),
            write_whisper(folder / "tiny.bin"),
        ):
            await started.workbench.models.load(str(path))
        yield started


async def run(folder: Path, *command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, KEY_VARIABLE: KEY},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    return out.decode()


@pytest.mark.parametrize("kind", ModelKind, ids=lambda kind: kind.value)
async def test_every_snippet_gets_its_answer(served: Served, kind: ModelKind) -> None:
    model, expected = MODELS[kind]
    folder = served.workbench.folders.config.parent
    runs = [
        run(folder, *COMMANDS[snippet.title](snippet.text))
        for snippet in write_snippets(served.server.describe_for(model, kind))
        if shutil.which(COMMANDS[snippet.title]("")[0])
    ]
    answers = await asyncio.gather(*runs)
    assert len(answers) >= 2
    for answer in answers:
        assert expected in answer


async def test_a_name_may_hold_anything_and_stays_what_it_is() -> None:
    for kind in ModelKind:
        _, python, javascript = write_snippets(ServedAt("http://127.0.0.1:1", ODD, kind))
        literals = [each.value for each in ast.walk(ast.parse(python.text)) if isinstance(each, ast.Constant)]
        assert ODD in literals
        assert python.text.isascii()
        assert json.dumps(ODD) in javascript.text
        assert javascript.text.isascii()


async def test_a_key_made_for_this_run_is_shown_and_ones_own_is_not() -> None:
    for kind in ModelKind:
        made = write_snippets(ServedAt("http://h:1", "m", kind, asks_for_key=True, made_key="for-this-run"))
        assert all("for-this-run" in snippet.text for snippet in made)
        own = write_snippets(ServedAt("http://h:1", "m", kind, asks_for_key=True))
        assert all(KEY_VARIABLE in snippet.text for snippet in own)
        none = write_snippets(ServedAt("http://h:1", "m", kind))
        assert not any(KEY_VARIABLE in snippet.text or "uthorization" in snippet.text for snippet in none)
    assert NO_KEY in write_snippets(ServedAt("http://h:1", "m"))[1].text
