"""What became of each request, told once when it has ended: what a ledger, metrics and traces are made of.

All of it belongs to the event loop of the workbench.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from msgspec import Struct

from core.errors import BenchtopError, Cancelled
from core.events import FinishReason, Timings, Usage
from core.requests import Caller
from core.serving.ability import Request, find_asked_kind
from core.serving.content import RequestContent
from core.serving.stream import Stream
from core.snapshots import ModelKind, RequestRow
from core.telemetry.log import get_logger
from core.telemetry.origin import NO_ORIGIN, RequestOrigin, request_origin

log = get_logger(__name__)


class RequestReport(Struct, frozen=True):
    """A request that has ended, well or not; also one that never reached its model."""

    request_id: str
    model: str
    """The name by which it is served; the one that it was asked for by, where the request never reached its model."""
    kind: ModelKind
    """Of the model that is asked for."""
    caller: Caller
    asked: Request
    """What was asked. It may be large, so an observer takes from it what it needs and keeps no hold of it."""
    began: float
    """Unix time, seconds."""
    elapsed: float
    """Seconds from its arrival to its end; waiting for its model and in the queue are among them."""
    waited: float | None
    """Seconds until its model began to compute it; None where that never came to pass."""
    first: float | None
    """Seconds until the first of its answer was there; None where nothing came."""
    usage: Usage
    """Summed over its choices. Of one that did not end well, what was spent on it until then."""
    timings: Timings
    """Of the choice that took longest to decode; zeros of one that did not end well."""
    reasons: tuple[FinishReason, ...] = ()
    """Why its choices ended, in the order in which they did."""
    error: BenchtopError | None = None
    """What ended it otherwise; `Cancelled` where its client left or somebody ended it."""
    row: RequestRow | None = None
    """What the request board showed of it last; None where it never reached its model."""
    origin: RequestOrigin = NO_ORIGIN
    content: RequestContent | None = None
    """What was said and what came of it; None where it never reached its model."""


class Observer(Protocol):
    """Wants to know what requests were like. Called on the event loop, so it must be brief."""

    def note_end(self, report: RequestReport) -> None: ...


class RequestReports:
    """Tells observers what became of every request that it is shown."""

    def __init__(self) -> None:
        self._observers: list[Observer] = []

    def add(self, observer: Observer) -> None:
        """From now on it is told of requests that end."""
        self._observers.append(observer)

    def drop(self, observer: Observer) -> None:
        """It is told of no more; one that was not added is left alone."""
        if observer in self._observers:
            self._observers.remove(observer)

    @contextmanager
    def following(self, request: Request) -> Iterator[Callable[[Stream, str], None]]:
        """The way of a request to its model happens inside, and ends in an error or with a stream, which is given to
        what this yields with the name by which the model is served."""
        began, since, came = time.time(), time.monotonic(), request_origin.get()

        def follow(stream: Stream, served: str) -> None:
            stream.when_over(lambda: self._tell(_describe_end(request, stream, served, began, since, came)))

        try:
            yield follow
        except (BenchtopError, asyncio.CancelledError) as error:
            ended = error if isinstance(error, BenchtopError) else Cancelled()
            self._tell(
                RequestReport(
                    request.request_id,
                    request.model,
                    find_asked_kind(request),
                    request.caller,
                    request,
                    began,
                    time.monotonic() - since,
                    None,
                    None,
                    Usage(),
                    Timings(),
                    error=ended,
                    origin=came,
                )
            )
            raise

    def _tell(self, report: RequestReport) -> None:
        for observer in tuple(self._observers):
            try:
                observer.note_end(report)
            except Exception:
                # The edge of what merely watches: no request may suffer from it, nor another observer.
                log.exception("an observer failed", request_id=report.request_id)


def _describe_end(
    request: Request, stream: Stream, served: str, began: float, since: float, came: RequestOrigin
) -> RequestReport:
    end, row = stream.end, stream.row()
    finished = end.finished
    if end.error is None and finished:
        usage = Usage(
            max(each.usage.prompt_tokens for each in finished),
            max(each.usage.cached_tokens for each in finished),
            sum(each.usage.completion_tokens for each in finished),
            sum(each.usage.reasoning_tokens for each in finished),
        )
        timings = max((each.timings for each in finished), key=lambda each: each.decode)
    else:
        usage = Usage(row.prompt_tokens if end.admitted is not None else 0, row.cached_tokens, row.completion_tokens)
        timings = Timings()
    return RequestReport(
        request.request_id,
        served,
        find_asked_kind(request),
        request.caller,
        request,
        began,
        time.monotonic() - since,
        None if end.admitted is None else end.admitted - since,
        None if end.first is None else end.first - since,
        usage,
        timings,
        tuple(each.reason for each in finished),
        end.error,
        row,
        came,
        stream.content(),
    )
