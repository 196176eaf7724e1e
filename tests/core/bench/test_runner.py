"""Measuring a loaded model goes the way requests go, and ends as they end."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.bench.runner import BenchPhase, Progress
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import EchoEngine, EchoModel
from core.engines.registry import Engines
from core.errors import EngineFailed, RequestError
from core.settings.model import ModelSettings
from core.settings.schema import Settings
from core.workbench import Workbench
from tests.fakes.support import folders_in


class FailsInDecode(EchoModel):
    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if any(len(item.tokens) == 1 for item in work):
            raise RuntimeError("a fault")
        return super().step(work)


class Failing(EchoEngine):
    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return FailsInDecode(options)


async def test_what_ends_a_stream_ends_the_measuring_with_the_same_sentence(tmp_path: Path) -> None:
    bench = Workbench(Settings(), folders_in(tmp_path), Engines({"echo": f"{__name__}:Failing"}))
    await bench.models.load("echo")
    with pytest.raises(EngineFailed, match="a fault"):
        async for _ in bench.bench.measure("echo", streams=2):
            pass
    await bench.close()


class Slowly(EchoModel):
    """Reads one prompt after the other, and takes its time for each step."""

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(0.02 if all(len(item.tokens) == 1 for item in work) else 0.2)
        return super().step(work)


class Slow(EchoEngine):
    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return Slowly(options)


async def test_rates_along_the_way_begin_with_the_first_token_of_any_stream(tmp_path: Path) -> None:
    bench = Workbench(
        Settings(model=ModelSettings(batch=64)), folders_in(tmp_path), Engines({"echo": f"{__name__}:Slow"})
    )
    await bench.models.load("echo")
    samples = [
        sample async for sample in bench.bench.measure("echo", prompt_tokens=60, new_tokens=30, rounds=1, streams=4)
    ]
    await bench.close()
    progress = [sample for sample in samples if isinstance(sample, Progress)]
    assert all((sample.phase is BenchPhase.DECODE) == (sample.tokens > 0) for sample in progress)
    # Streams still read their prompts while the first one decodes, as in the rate that the round is told to have had.
    assert 0 < min(sample.tokens for sample in progress if sample.phase is BenchPhase.DECODE) < 4 * 29


async def test_more_than_the_context_holds_is_refused_with_the_numbers(tmp_path: Path) -> None:
    bench = Workbench(Settings(model=ModelSettings(ctx_size=64)), folders_in(tmp_path))
    await bench.models.load("echo")
    with pytest.raises(RequestError, match="60 prompt tokens and 10 new ones do not fit the context of 64"):
        bench.bench.measure("echo", prompt_tokens=60, new_tokens=10)
    await bench.close()
