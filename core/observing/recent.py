"""The requests that ended lately, with their times, also those whose model is gone or never came."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from core.events import FinishReason, Timings, Usage
from core.observing.outcomes import RequestOutcome, judge_outcome
from core.serving.report import RequestReport
from core.snapshots import RequestRow, RequestState

KEPT_REQUESTS: Final = 512


class EndedRequest(Struct, frozen=True):
    """Times are seconds since the request's arrival, but for `began`."""

    row: RequestRow
    began: float
    """Unix time."""
    elapsed: float
    waited: float | None
    """Until its model began to compute it."""
    first: float | None
    """Until the first of its answer."""
    usage: Usage
    timings: Timings
    reasons: tuple[FinishReason, ...]
    outcome: RequestOutcome
    error: str
    endpoint: str


class RecentRequests:
    """An observer of requests. Belongs to the event loop."""

    def __init__(self) -> None:
        self._ended: OrderedDict[str, EndedRequest] = OrderedDict()

    def note_end(self, report: RequestReport) -> None:
        """What was asked is not kept."""
        row = report.row or RequestRow(
            report.request_id, report.model, RequestState.ENDED, elapsed=report.elapsed, key=report.caller.name
        )
        self._ended.pop(report.request_id, None)
        self._ended[report.request_id] = EndedRequest(
            row=row,
            began=report.began,
            elapsed=report.elapsed,
            waited=report.waited,
            first=report.first,
            usage=report.usage,
            timings=report.timings,
            reasons=report.reasons,
            outcome=judge_outcome(report.error),
            error="" if report.error is None else str(report.error),
            endpoint=report.origin.endpoint,
        )
        if len(self._ended) > KEPT_REQUESTS:
            self._ended.popitem(last=False)

    def find_ended(self, request_id: str) -> EndedRequest | None:
        """None of one that has not ended, or too long ago."""
        return self._ended.get(request_id)
