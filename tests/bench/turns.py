"""Models that compute in turns, of so many passes each: what disturbs the one disturbs the others as much.

Two answers, one after the other, differ by what else the machine does meanwhile, which is more than what is to be
measured. Here each has a short turn after the other, and turns are compared that lie a moment apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from core.contract.options import LoadOptions
from core.contract.step import Step, Work
from core.engines.echo import EchoModel

PASSES: Final = 50
"""Of a turn."""


class TurnSpent(Struct, frozen=True):
    """What a turn took, in seconds: by the clock, and of the processor by all threads of the process."""

    seconds: float
    processor: float


class TurnTaking:
    """Belongs to all models that compute in turns. Safe to call from any thread."""

    def __init__(self, models: int) -> None:
        self.spent: list[list[TurnSpent]] = [[] for _ in range(models)]
        """By model, of whole turns."""
        self._changed = threading.Condition()
        self._over = [False] * models
        self._at = 0
        self._passes = 0
        self._began = (0.0, 0.0)

    def begin_pass(self, model: int) -> None:
        """Waits for the model's turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._at == model)
            if not self._passes:
                self._began = (time.perf_counter(), time.process_time())
            elif self._passes == PASSES:
                seconds, processor = self._began
                now = TurnSpent(time.perf_counter() - seconds, time.process_time() - processor)
                self.spent[model].append(now)
                self._pass_on()
                self._changed.wait_for(lambda: self._at == model)
                self._began = (time.perf_counter(), time.process_time())
            self._passes += 1

    def end(self, model: int) -> None:
        """The model's answer has ended."""
        with self._changed:
            self._over[model] = True
            if self._at == model:
                self._pass_on()

    def _pass_on(self) -> None:
        self._passes = 0
        following = [(self._at + step) % len(self._over) for step in range(1, len(self._over) + 1)]
        self._at = next((model for model in following if not self._over[model]), self._at)
        self._changed.notify_all()


class PacedEcho(EchoModel):
    """An echo model whose passes take as long as those of a real one, and as little of the processor."""

    def __init__(self, options: LoadOptions, script: Callable[[str], str], template: str, pass_seconds: float) -> None:
        super().__init__(options, script, template)
        self._pass_seconds = pass_seconds
        self._turns: TurnTaking | None = None
        self._number = 0

    def take_turns(self, turns: TurnTaking, number: int) -> None:
        """From now on, as the one of that number."""
        self._turns, self._number = turns, number

    def step(self, work: Sequence[Work]) -> Sequence[Step]:
        if self._turns is not None:
            self._turns.begin_pass(self._number)
        time.sleep(self._pass_seconds)
        return super().step(work)
