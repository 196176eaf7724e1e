"""The prefix cache: time to first token of a long prompt, cold, after a swap of models and after a restart; and what
is left when the process that writes is killed again and again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from core.cache.disk import DiskTier, list_stored_files
from core.requests import Generation, RawTokens, Sampling
from core.settings.model import ModelSettings
from core.settings.schema import BenchSettings, ProbeSettings, Settings
from core.workbench import Workbench
from tests.bench.report import table
from tests.fakes.prefixes import IDENTITY, WRITER, state_of
from tests.fakes.support import folders_in

PROMPT_TOKENS = 4000
STATE_BYTES = 2_000_000
OTHER_MODEL = "guide"


@asynccontextmanager
async def running(model: Path, threads: int, folder: Path, **options: object) -> AsyncIterator[tuple[Workbench, str]]:
    """A workbench as after a start, with the model loaded; `options` are further ones of its section `[model]`."""
    settings = Settings(
        model=ModelSettings(
            engine="llamacpp",
            ctx_size=PROMPT_TOKENS + 512,
            slots=1,
            threads=threads,
            batch_threads=threads,
            extra_buffers=False,
            **options,  # type: ignore[arg-type]
        ),
        probe=ProbeSettings(enabled=False),
        bench=BenchSettings(enabled=False),
    )
    workbench = Workbench(settings, folders_in(folder))
    try:
        yield workbench, await workbench.models.load(str(model))
    finally:
        await workbench.close()


class FirstToken(Struct, frozen=True):
    seconds: float
    busy: float
    """Seconds of processors that the process took meanwhile: what else runs on the machine counts for less in them."""
    reused: int
    """Tokens of the prompt."""


async def time_first_token(workbench: Workbench, name: str, tokens: tuple[int, ...]) -> FirstToken:
    began, busy = time.perf_counter(), time.process_time()
    sampling = Sampling(temperature=0.0)
    stream = await workbench.requests.submit(Generation(name, RawTokens(tokens), sampling=sampling, max_tokens=1))
    reply = await stream.reply()
    return FirstToken(time.perf_counter() - began, time.process_time() - busy, reply.usage.cached_tokens)


async def run(model: Path, threads: int) -> str:
    """The model is loaded already whenever time is taken."""
    folder = Path(tempfile.mkdtemp())
    # Any tokens do: what is measured does not depend on their sense. A second turn, as a conversation has it.
    first = tuple(1000 + place * 7 % 5000 for place in range(PROMPT_TOKENS))
    second, third = (*first, *range(2000, 2032)), (*first, *range(2100, 2132))
    told: list[tuple[str, int, FirstToken]] = []
    try:
        async with running(model, threads, folder) as (workbench, name):
            told.append(("cold", PROMPT_TOKENS, await time_first_token(workbench, name, first)))
            await workbench.models.unload(name)
            await workbench.models.load(OTHER_MODEL)
            await workbench.models.load(str(model))
            swapped = await time_first_token(workbench, name, second)
            told.append(("after a swap of models, a turn later", len(second), swapped))
        size = sum(file.size for file in list_stored_files(folder))
        async with running(model, threads, folder) as (workbench, name):
            restarted = await time_first_token(workbench, name, third)
            told.append(("after a restart, a turn later", len(third), restarted))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    cold = told[0][2]
    rows = [
        (start, count, each.reused, each.seconds, each.seconds / cold.seconds, each.busy, each.busy / cold.busy)
        for start, count, each in told
    ]
    head = ("start", "prompt", "reused", "seconds to the first token", "of cold", "busy seconds", "of cold")
    return table(f"A known prefix of {PROMPT_TOKENS} tokens, {size / 1e6:.0f} MB on disk: {model.stem}", head, rows)


def run_kills(kills: int) -> str:
    """Kill a writer of prefixes `kills` times, each time later within its work, and look at all that it left."""
    folder = Path(tempfile.mkdtemp())
    try:
        for kill in range(kills):
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(folder), str(kill * 1000), str(STATE_BYTES)], stdout=subprocess.PIPE
            )
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.002 * (kill % 50))
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
        tier = DiskTier(folder, 100 * STATE_BYTES)
        files = tier.load(IDENTITY.digest)
        states = [(tier.read(path, found.header, found.tokens), found.tokens) for path, found in files]
        halves = len(list(folder.rglob(".*.safetensors.*")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    wrong = sum(state is not None and state != state_of(tokens, STATE_BYTES) for state, tokens in states)
    unread = sum(state is None for state, _ in states)
    head = ("kills", "whole files", "wrong answers", "unreadable files", "halves left, never read")
    return table("A writer of prefixes that is killed", head, [(kills, len(files), wrong, unread, halves)])
