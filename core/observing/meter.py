"""The meter of a workbench: counts what requests were like when they have ended, and reads what is the case now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.events import FinishReason
from core.observing.catalog import (
    CACHE_HITS,
    CACHE_TOKENS,
    DURATION,
    FINISHES,
    FIRST_TOKEN,
    GUESSED,
    KEPT,
    LOCAL,
    LOST_TOKENS,
    OTHER,
    PER_TOKEN,
    QUEUE_WAIT,
    REQUESTS,
    RESPONSES,
    TOKENS,
)
from core.observing.labels import MOST_ENDPOINTS, BoundedLabels, ModelLabels
from core.observing.outcomes import RequestOutcome, judge_outcome
from core.observing.tally import MetricReading, Tally
from core.reuse import Reuse
from core.serving.report import RequestReport
from core.snapshots import ModelKind

_REASONS = {reason: reason.value for reason in FinishReason}


class Meter:
    """An observer of requests. Belongs to the event loop, and counts for as long as its workbench lives."""

    def __init__(self, find_served: Callable[[str], str | None]) -> None:
        """As `ModelLabels` has it."""
        self._tally = Tally()
        self._models = ModelLabels(find_served)
        self._endpoints = BoundedLabels(MOST_ENDPOINTS)

    def note_end(self, report: RequestReport) -> None:
        add, observe = self._tally.add, self._tally.observe
        model = self._models.find_label(report.model)
        endpoint = self._endpoints.find_label(report.origin.endpoint) if report.origin.endpoint else LOCAL
        outcome = judge_outcome(report.error)
        add(REQUESTS, (model, endpoint, outcome.value))
        for reason in report.reasons:
            add(FINISHES, (model, _REASONS[reason]))
        if outcome is RequestOutcome.OK:
            observe(DURATION, (model, endpoint), report.elapsed)
        if report.row is None:
            return
        if report.waited is not None or outcome is RequestOutcome.TIMED_OUT:
            observe(QUEUE_WAIT, (model,), report.row.waited)
        if report.kind is ModelKind.CHAT:
            self._note_pace(report, model)
        usage = report.usage
        for kind, count in (
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("completion", usage.completion_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            # Also zeros: a share of two series needs both.
            add(TOKENS, (model, kind), count)
        self._note_reuse(report.row.reuse, model)
        if report.row.guessed_tokens:
            add(GUESSED, (model,), report.row.guessed_tokens)
            add(KEPT, (model,), report.row.kept_tokens)

    def note_response(self, route: str, status: int) -> None:
        """An HTTP request was answered; `route` is the path as it is declared, empty where there is none such."""
        endpoint = self._endpoints.find_label(route) if route else OTHER
        self._tally.add(RESPONSES, (endpoint, str(status)))

    def read_counts(self) -> Iterator[MetricReading]:
        return self._tally.read_all()

    def _note_pace(self, report: RequestReport, model: str) -> None:
        if report.first is not None:
            self._tally.observe(FIRST_TOKEN, (model,), report.first)
        if (seconds := find_token_seconds(report)) is not None:
            self._tally.observe(PER_TOKEN, (model,), seconds)

    def _note_reuse(self, reuse: Reuse, model: str) -> None:
        if reuse.tier is not None and reuse.tokens:
            self._tally.add(CACHE_HITS, (model, reuse.tier.value))
            self._tally.add(CACHE_TOKENS, (model, reuse.tier.value), reuse.tokens)
        if reuse.cause is not None and reuse.lost:
            self._tally.add(LOST_TOKENS, (model, reuse.cause.value), reuse.lost)


def find_token_seconds(report: RequestReport) -> float | None:
    """The mean time of a token after a choice's first; None of an answer that failed or had no second one."""
    choices = len(report.reasons)
    later = report.usage.completion_tokens / choices - 1 if choices else 0.0
    return report.timings.decode / later if report.error is None and later > 0 and report.timings.decode else None
