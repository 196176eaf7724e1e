"""Engines on the echo model that die on purpose or dawdle; children find them as `tests.fakes.crashing:Name`."""

import os
import time
from collections.abc import Sequence

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.contract.step import Step, Work
from core.engines.echo import EchoEngine, EchoModel


class Crashing(EchoEngine):
    """Takes its process with it."""

    name = "crashing"
    priority = 1001

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        os.abort()


class PatientModel(EchoModel):
    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(0.005)
        return super().step(work)


class Patient(EchoEngine):
    """Echo at a reader's pace."""

    name = "patient"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        return PatientModel(options)


class Talking(EchoEngine):
    """Dies as native libraries do: with a line, and frames behind it."""

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        os.write(2, b"/src/ggml.c:1: GGML_ASSERT(false) failed\n#0  0x00 in raise\n")
        os.abort()


class Telling(EchoEngine):
    """Says what it was told of a key."""

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        os.write(2, f"error: the key is {os.environ.get('BENCHTOP_SERVER_API_KEYS')}\n".encode())
        os._exit(5)
