"""Engines on the echo model that die on purpose, or take their time; children find them by `tests.crashing:Name`."""

import os
import time
from collections.abc import Sequence

from core.engines.base import Artifact, LoadOptions, LoadProgress, Step, Work, no_progress
from core.engines.echo import EchoEngine, EchoModel


class Crashing(EchoEngine):
    """Takes its process with it."""

    name = "crashing"
    priority = 1001

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = no_progress) -> EchoModel:
        os.abort()


class PatientModel(EchoModel):
    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        time.sleep(0.005)
        return super().step(work)


class Patient(EchoEngine):
    """Echo at a reader's pace."""

    name = "patient"

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = no_progress) -> EchoModel:
        return PatientModel(options)
