"""A model that thinks for longer than any test waits, at a pace at which others get a word in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from core.chat.chatml import CHATML_WITH_TOOLS
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import EchoEngine, EchoModel

STEP_SECONDS: Final = 0.001
ANSWER: Final = "42"


def think_long(_: str) -> str:
    return f"<think>\n{'hm ' * 33_000}\n</think>\n\n{ANSWER}"


class BroodingModel(EchoModel):
    """Takes its time for each step, as a real model does."""

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(STEP_SECONDS)
        return super().step(work)


class BroodingEngine(EchoEngine):
    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return BroodingModel(options, think_long, CHATML_WITH_TOOLS)


PONDERING_SECONDS: Final = 0.02


class PonderingModel(EchoModel):
    """Thinks as long, and leaves the processor to others."""

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(PONDERING_SECONDS)
        return super().step(work)


class PonderingEngine(EchoEngine):
    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return PonderingModel(options, think_long, CHATML_WITH_TOOLS)


READING_SECONDS: Final = 0.05


class ReadingModel(EchoModel):
    """Takes its time for prompts, and none for answers."""

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if any(len(item.tokens) > 1 for item in work):
            time.sleep(READING_SECONDS)
        return super().step(work)


class ReadingEngine(EchoEngine):
    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return ReadingModel(options)
