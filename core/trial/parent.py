"""The parent's end of a trial run: start the child, read what it tells, end it whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from core.trial.child import Line, TrialRequest, VariantRefused, VariantTried
from core.trial.child_process import run_child

LINES: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)


class TrialOutcome(Struct, frozen=True):
    """All that a child told, and how it ended where it did not end well."""

    lines: tuple[Line, ...]
    trouble: str | None = None
    """`crashed with SIGILL`, `hung for 120 s`, `ended with exit code 1 (ModuleNotFoundError: ...)` ..."""
    late: bool = False
    """It was ended because its time was up."""


def run_trial(
    request: TrialRequest,
    timeout: float,
    stop: threading.Event,
    tell: Callable[[Line], None] | None = None,
    limit: float | None = None,
    is_enough: Callable[[], bool] | None = None,
) -> TrialOutcome:
    """As `run_child`, of a child that also says it where it comes to no result."""
    ended = run_child("core.trial.child", request, LINES, timeout, stop, tell, limit, is_enough)
    trouble = ended.trouble
    found = any(isinstance(line, VariantTried | VariantRefused) for line in ended.lines)
    if trouble is None and not ended.late and not found:
        trouble = "ended without a result"
    return TrialOutcome(ended.lines, trouble, ended.late)
