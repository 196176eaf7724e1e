"""The requests that ended lately, with their times, also those whose model is gone or never came."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.events import FinishReason, Timings, Usage
from core.observing.outcomes import RequestOutcome, judge_outcome
from core.serving.content import RequestContent
from core.serving.report import RequestReport
from core.snapshots import ModelKind, RequestRow, RequestState

KEPT_REQUESTS: Final = 512
KEPT_TOKENS: Final = 400_000
"""Of prompts and answers, where somebody may want to look at them: some twenty megabytes."""


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
    kind: ModelKind = ModelKind.CHAT
    content: RequestContent | None = None
    """What was said and what came of it; None where that is not kept, or no longer."""


class RecentRequests:
    """An observer of requests. Belongs to the event loop."""

    def __init__(self, kept_tokens: int = KEPT_TOKENS) -> None:
        """`kept_tokens`: of what requests said, where that is kept."""
        self._kept_tokens = kept_tokens
        self._ended: OrderedDict[str, EndedRequest] = OrderedDict()
        self._kept: OrderedDict[str, int] = OrderedDict()
        """Those whose content is kept, with its tokens."""
        self.keeps_content = False
        """Whether what they said is kept too, as far as there is room, since somebody may look at it."""
        self.number = 0
        """Of requests that have ended so far."""

    def list_ended(self, most: int) -> Sequence[EndedRequest]:
        """The newest one first."""
        return tuple(islice(reversed(self._ended.values()), most))

    def note_end(self, report: RequestReport) -> None:
        """Nothing of what was asked is copied."""
        self.number += 1
        row = report.row or RequestRow(
            report.request_id, report.model, RequestState.ENDED, elapsed=report.elapsed, key=report.caller.name
        )
        self._forget(report.request_id)
        content = self._keep(report)
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
            kind=report.kind,
            content=content,
        )
        if len(self._ended) > KEPT_REQUESTS:
            self._forget(next(iter(self._ended)))

    def _keep(self, report: RequestReport) -> RequestContent | None:
        """Its content, where there is room for it: the oldest go."""
        if not self.keeps_content:
            return None
        content = (report.content or RequestContent(report.asked)).without_audio()
        tokens = content.weight
        if tokens > self._kept_tokens:
            return None
        self._kept[report.request_id] = tokens
        while sum(self._kept.values()) > self._kept_tokens:
            oldest, _ = self._kept.popitem(last=False)
            self._ended[oldest] = replace(self._ended[oldest], content=None)
        return content

    def _forget(self, request_id: str) -> None:
        self._ended.pop(request_id, None)
        self._kept.pop(request_id, None)

    def find_ended(self, request_id: str) -> EndedRequest | None:
        """None of one that has not ended, or too long ago."""
        return self._ended.get(request_id)
