"""What a collector is told of a request: taken from its report at once, since the request itself may be large."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace

from core.events import FinishReason, Usage
from core.observing.labels import fit_label
from core.observing.meter import find_token_seconds
from core.observing.outcomes import RequestOutcome, judge_outcome
from core.requests import Conversation, Embedding, Generation, Reranking, SamplingWish, Transcription
from core.serving.ability import Request
from core.serving.report import RequestReport
from core.telemetry.origin import TraceParent


class AskedFacts(Struct, frozen=True):
    """What the client asked for, as far as it is no text."""

    max_tokens: int | None = None
    choices: int = 1
    sampling: SamplingWish = SamplingWish()


class RequestFacts(Struct, frozen=True):
    request_id: str
    operation: str
    """By the conventions' name."""
    asked_model: str
    model: str
    """As it is served; `other` where no such model is."""
    endpoint: str
    parent: TraceParent | None
    asked: AskedFacts
    began: float
    """Unix time, seconds."""
    elapsed: float
    waited: float | None
    queued: float | None
    first: float | None
    token_seconds: float | None
    """Mean time of a token after the first."""
    usage: Usage
    reasons: tuple[FinishReason, ...]
    outcome: RequestOutcome


def extract_facts(report: RequestReport, model: str) -> RequestFacts:
    """`model`: the label of the model that was asked."""
    return RequestFacts(
        request_id=fit_label(report.request_id),
        operation=name_operation(report.asked),
        asked_model=fit_label(report.asked.model),
        model=model,
        endpoint=fit_label(report.origin.endpoint),
        parent=report.origin.parent,
        asked=_extract_asked(report.asked),
        began=report.began,
        elapsed=report.elapsed,
        waited=report.waited,
        queued=report.row.waited if report.row is not None else None,
        first=report.first,
        token_seconds=find_token_seconds(report),
        usage=report.usage,
        reasons=report.reasons,
        outcome=judge_outcome(report.error),
    )


def name_operation(request: Request) -> str:
    match request:
        case Generation(prompt=Conversation()):
            return "chat"
        case Generation():
            return "text_completion"
        case Embedding():
            return "embeddings"
        case Reranking():
            return "rerank"
        case Transcription():
            return "transcription"
        case _:
            assert_never(request)


def _extract_asked(request: Request) -> AskedFacts:
    if not isinstance(request, Generation):
        return AskedFacts()
    sampling = request.sampling
    # A bias may be as long as a vocabulary, and many requests wait to be told of.
    return AskedFacts(
        request.max_tokens, request.n, replace(sampling, logit_bias=None) if sampling.logit_bias else sampling
    )
