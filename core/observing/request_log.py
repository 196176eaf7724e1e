"""A line of the log for each request that has ended: how much of it was what, how fast, and how it ended."""

from __future__ import annotations

from core.observing.outcomes import RequestOutcome, judge_outcome
from core.serving.report import RequestReport
from core.telemetry.log import get_logger

log = get_logger(__name__)


class RequestLog:
    """An observer of requests. Those that never reached their model are told by whoever refuses them."""

    def note_end(self, report: RequestReport) -> None:
        if report.row is None:
            return
        outcome, usage, reuse = judge_outcome(report.error), report.usage, report.row.reuse
        log.info(
            "request ended",
            request_id=report.request_id,
            model=report.model,
            outcome=outcome.value,
            why=None if report.error is None or outcome is RequestOutcome.CANCELLED else str(report.error),
            end=" ".join(dict.fromkeys(reason.value for reason in report.reasons)) or None,
            prompt=usage.prompt_tokens,
            reused=usage.cached_tokens or None,
            tier=reuse.tier.value if reuse.tier else None,
            cause=reuse.cause.value if reuse.cause else None,
            detail=reuse.detail or None,
            departure=reuse.departure.token if reuse.departure else None,
            answer=usage.completion_tokens or None,
            rate=round(report.timings.decode_rate(usage.completion_tokens), 1) or None,
            first_ms=_count_milliseconds(report.first),
            ms=_count_milliseconds(report.elapsed),
        )


def _count_milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
