"""The log's line about a request that has ended."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from core.errors import Cancelled, EngineFailed, QueueFull
from core.events import FinishReason, Timings, Usage
from core.observing.request_log import RequestLog
from core.requests import Caller, Generation, RawText
from core.reuse import Reuse, Tier
from core.serving.report import RequestReport
from core.snapshots import ModelKind, RequestRow, RequestState

ENDED = RequestReport(
    "req_1",
    "echo",
    ModelKind.CHAT,
    Caller(),
    Generation("echo", RawText("hello")),
    began=0.0,
    elapsed=2.5,
    waited=0.1,
    first=0.5,
    usage=Usage(26, 25, 41),
    timings=Timings(decode=2.0),
    reasons=(FinishReason.STOP,),
    row=RequestRow("req_1", "echo", RequestState.ENDED, reuse=Reuse(25, Tier.RESIDENT)),
)


def log_end(report: RequestReport, caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    """The fields of the one line; empty where there is none."""
    caplog.clear()
    with caplog.at_level("INFO"):
        RequestLog().note_end(report)
    return next((vars(record)["fields"] for record in caplog.records), {})


def test_it_tells_how_much_was_computed_and_how_fast(caplog: pytest.LogCaptureFixture) -> None:
    assert log_end(ENDED, caplog) == {
        "request_id": "req_1",
        "model": "echo",
        "outcome": "ok",
        "end": "stop",
        "prompt": 26,
        "reused": 25,
        "tier": "resident",
        "answer": 41,
        "rate": 20.0,
        "first_ms": 500.0,
        "ms": 2500.0,
    }


def test_it_says_why_a_request_failed_and_of_one_that_was_left_that_it_was(caplog: pytest.LogCaptureFixture) -> None:
    broken = log_end(replace(ENDED, error=EngineFailed("The engine broke."), reasons=()), caplog)
    assert (broken["outcome"], broken["why"]) == ("engine_failed", "The engine broke.")
    left = log_end(replace(ENDED, error=Cancelled(), reasons=()), caplog)
    assert left["outcome"] == "cancelled"
    assert "why" not in left


def test_what_never_reached_its_model_is_told_by_who_refused_it(caplog: pytest.LogCaptureFixture) -> None:
    assert log_end(replace(ENDED, error=QueueFull(1, 1), row=None), caplog) == {}
