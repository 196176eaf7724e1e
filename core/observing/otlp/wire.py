"""Requests as spans, and their numbers as histograms, in OpenTelemetry's protobuf with the names of its GenAI
conventions. Imports protobuf, so it is imported by the thread that sends."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from core.observing.otlp.facts import AskedFacts, RequestFacts
from core.observing.otlp.histograms import UNITS
from core.observing.outcomes import RequestOutcome
from core.observing.tally import MetricReading

SCOPE = "benchtop"
DROPPED = "benchtop.telemetry.dropped_requests"
SAMPLED_REMOTE_MODE = 0x301
"""Flags of a span: it is kept, and its parent is another process's."""
SAMPLED_MODE = 0x101
KEPT_ATTRIBUTES = 512
NANOSECONDS_PER_SECOND = 1_000_000_000

Value = str | int | float | tuple[str, ...]


class OtlpWriter:
    """`version` of this program; `instance` names the process; `started` is Unix time in seconds."""

    def __init__(self, version: str, instance: str, started: float) -> None:
        told = {"service.name": SCOPE, "service.version": version, "service.instance.id": instance}
        self._resource = Resource(attributes=list(_list_attributes(told.items())))
        self._scope = InstrumentationScope(name=SCOPE, version=version)
        self._started = _nanoseconds(started)

    def write_spans(self, requests: Iterable[RequestFacts]) -> bytes:
        spans = [_build_span(each) for each in requests]
        scoped = ScopeSpans(scope=self._scope, spans=spans)
        message = ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[scoped])]
        )
        return bytes(message.SerializeToString())

    def write_metrics(self, readings: Iterable[MetricReading], dropped: int, now: float) -> bytes:
        """Histograms as they are since the start; `dropped`: requests that were not told of; `now`: Unix time."""
        at = _nanoseconds(now)
        lost = NumberDataPoint(start_time_unix_nano=self._started, time_unix_nano=at, as_int=dropped)
        cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        metrics = [
            Metric(
                name=DROPPED,
                unit="{request}",
                sum=Sum(data_points=[lost], aggregation_temporality=cumulative, is_monotonic=True),
            )
        ]
        for reading in readings:
            points = [
                HistogramDataPoint(
                    attributes=list(_list_attributes(zip(reading.metric.labels, labels, strict=True))),
                    start_time_unix_nano=self._started,
                    time_unix_nano=at,
                    count=sum(spread.counts),
                    sum=spread.total,
                    bucket_counts=spread.counts,
                    explicit_bounds=reading.metric.bounds,
                )
                for labels, spread in reading.spreads
            ]
            metrics.append(
                Metric(
                    name=reading.metric.name,
                    description=reading.metric.help,
                    unit=UNITS[reading.metric],
                    histogram=Histogram(data_points=points, aggregation_temporality=cumulative),
                )
            )
        scoped = ScopeMetrics(scope=self._scope, metrics=metrics)
        message = ExportMetricsServiceRequest(
            resource_metrics=[ResourceMetrics(resource=self._resource, scope_metrics=[scoped])]
        )
        return bytes(message.SerializeToString())


def _build_span(request: RequestFacts) -> Span:
    parent = request.parent
    failed = request.outcome not in (RequestOutcome.OK, RequestOutcome.CANCELLED)
    moments = (("admitted", request.waited), ("first_token", request.first))
    return Span(
        trace_id=parent.trace_id if parent is not None else os.urandom(16),
        span_id=os.urandom(8),
        parent_span_id=parent.span_id if parent is not None else b"",
        flags=SAMPLED_REMOTE_MODE if parent is not None else SAMPLED_MODE,
        name=f"{request.operation} {request.asked_model}",
        kind=Span.SpanKind.SPAN_KIND_SERVER,
        start_time_unix_nano=_nanoseconds(request.began),
        end_time_unix_nano=_nanoseconds(request.began + request.elapsed),
        attributes=list(_list_attributes(_describe_request(request))),
        events=[
            Span.Event(name=f"benchtop.{name}", time_unix_nano=_nanoseconds(request.began + after))
            for name, after in moments
            if after is not None
        ],
        status=Status(code=Status.StatusCode.STATUS_CODE_ERROR) if failed else None,
    )


def _describe_request(request: RequestFacts) -> Iterator[tuple[str, Value | None]]:
    usage = request.usage
    yield "gen_ai.operation.name", request.operation
    yield "gen_ai.provider.name", SCOPE
    yield "gen_ai.request.model", request.asked_model
    yield "gen_ai.response.model", request.model
    yield "gen_ai.response.id", request.request_id
    yield "gen_ai.response.finish_reasons", tuple(reason.value for reason in request.reasons)
    yield "gen_ai.usage.input_tokens", usage.prompt_tokens
    yield "gen_ai.usage.output_tokens", usage.completion_tokens
    yield "gen_ai.usage.cache_read.input_tokens", usage.cached_tokens or None
    yield "gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens or None
    yield "error.type", request.outcome.value if request.outcome is not RequestOutcome.OK else None
    yield "http.route", request.endpoint
    yield "benchtop.queue.seconds", request.queued
    yield "benchtop.time_to_first_token.seconds", request.first
    yield "benchtop.time_per_output_token.seconds", request.token_seconds
    yield from _describe_asked(request.asked)


def _describe_asked(asked: AskedFacts) -> Iterator[tuple[str, Value | None]]:
    sampling = asked.sampling
    yield "gen_ai.request.max_tokens", asked.max_tokens
    yield "gen_ai.request.choice.count", asked.choices if asked.choices != 1 else None
    yield "gen_ai.request.temperature", sampling.temperature
    yield "gen_ai.request.top_p", sampling.top_p
    yield "gen_ai.request.top_k", sampling.top_k
    yield "gen_ai.request.seed", _fit_integer(sampling.seed)
    yield "gen_ai.request.frequency_penalty", sampling.frequency_penalty
    yield "gen_ai.request.presence_penalty", sampling.presence_penalty


def _list_attributes(told: Iterable[tuple[str, Value | None]]) -> Iterator[KeyValue]:
    """What is None or empty is left out."""
    for name, value in told:
        if value is None or value == "" or value == ():
            continue
        yield _build_word(name, value) if isinstance(value, str | tuple) else _build_number(name, value)


def _build_number(name: str, value: int | float) -> KeyValue:
    typed = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(double_value=value)
    return KeyValue(key=name, value=typed)


@lru_cache(KEPT_ATTRIBUTES)
def _build_word(name: str, value: str | tuple[str, ...]) -> KeyValue:
    """Models, routes and reasons come again and again, and nobody changes an attribute."""
    if isinstance(value, str):
        return KeyValue(key=name, value=AnyValue(string_value=value))
    words = ArrayValue(values=[AnyValue(string_value=each) for each in value])
    return KeyValue(key=name, value=AnyValue(array_value=words))


def _fit_integer(value: int | None) -> int | None:
    """None for what is wider than 64 bits: any whole number is a seed."""
    return value if value is not None and -(2**63) <= value < 2**63 else None


def _nanoseconds(seconds: float) -> int:
    return int(seconds * NANOSECONDS_PER_SECOND)
