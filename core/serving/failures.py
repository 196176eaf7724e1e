"""Faults that are none of ours to explain, in the words that clients are told."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import EngineFailed, LoadFailed
from core.serving.sequence import RequestJob


class StepFailed(Exception):
    """A step of the engine failed, and the requests in it with it."""

    def __init__(self, jobs: Sequence[RequestJob], error: BaseException) -> None:
        super().__init__(str(error))
        self.jobs = jobs
        self.error = error


def explain_step_failure(error: BaseException) -> EngineFailed:
    """What the requests are told that failed with a step, or with what was done for them outside of one."""
    if isinstance(error, MemoryError):
        return EngineFailed("The engine had not enough memory for what it was asked; ask for less at once.")
    return EngineFailed(f"The engine failed: {error!r}.")


def explain_load_failure(model: str, error: BaseException, doing: str) -> LoadFailed:
    """What those are told that wait for a model. `doing` is what failed: `Loading`, `Loading again`."""
    if isinstance(error, MemoryError):
        said = f" ({error})" if str(error) else ""
        mend = "choose a smaller model, or a smaller --ctx-size"
        return LoadFailed(model, f"{doing} {model} failed: there is not enough memory{said}; {mend}.")
    return LoadFailed(model, f"{doing} {model} failed: {error!r}.")
