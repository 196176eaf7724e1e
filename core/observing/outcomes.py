"""What became of a request, in one of few words: a label of metrics, an attribute of spans."""

from __future__ import annotations

from enum import Enum

from core.errors import (
    ArtifactError,
    BenchtopError,
    Busy,
    Cancelled,
    EngineError,
    LoadFailed,
    ModelNotFound,
    ModelNotReady,
    QueueFull,
    QueueTimeout,
    ServerStopping,
    UsageError,
)


class RequestOutcome(Enum):
    OK = "ok"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    """The queue was full, or something else was too busy."""
    TIMED_OUT = "timed_out"
    """It waited too long."""
    REFUSED = "refused"
    """Something about it was wrong."""
    NOT_FOUND = "not_found"
    """There is no such model."""
    UNAVAILABLE = "unavailable"
    """The model or the server was ending."""
    LOAD_FAILED = "load_failed"
    ENGINE_FAILED = "engine_failed"
    FAILED = "failed"


_OUTCOMES: tuple[tuple[type[BenchtopError] | tuple[type[BenchtopError], ...], RequestOutcome], ...] = (
    (Cancelled, RequestOutcome.CANCELLED),
    ((QueueFull, Busy), RequestOutcome.REJECTED),
    (QueueTimeout, RequestOutcome.TIMED_OUT),
    (UsageError, RequestOutcome.REFUSED),
    (ModelNotFound, RequestOutcome.NOT_FOUND),
    ((ModelNotReady, ServerStopping), RequestOutcome.UNAVAILABLE),
    ((LoadFailed, ArtifactError), RequestOutcome.LOAD_FAILED),
    (EngineError, RequestOutcome.ENGINE_FAILED),
)


def judge_outcome(error: BenchtopError | None) -> RequestOutcome:
    """What `error`, which ended a request, comes to; None ended it well."""
    if error is None:
        return RequestOutcome.OK
    return next((outcome for kinds, outcome in _OUTCOMES if isinstance(error, kinds)), RequestOutcome.FAILED)
