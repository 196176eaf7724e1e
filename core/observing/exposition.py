"""Readings as Prometheus wants them, in its text format or in OpenMetrics. Imports prometheus_client, so it is imported
when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import psutil
from prometheus_client import Metric as Family
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from core.observing.catalog import METRICS, PROCESS_CPU, PROCESS_FILES, PROCESS_START, Metric, MetricKind
from core.observing.tally import MetricReading, Spread

OPENMETRICS = "application/openmetrics-text"
_ACCEPT = {False: "text/plain", True: f"{OPENMETRICS}; version=1.0.0"}


def render_metrics(readings: Iterable[MetricReading], *, openmetrics: bool) -> tuple[bytes, str]:
    """The page and its content type. Every metric of the catalog stands in it, also one without a value yet."""
    encode, media = choose_encoder(_ACCEPT[openmetrics])
    return encode(_Families({each.metric: each for each in readings})), media


def read_process() -> Iterator[MetricReading]:
    """What the system tells of this process."""
    process = psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        yield MetricReading(PROCESS_CPU, (((), times.user + times.system),))
        yield MetricReading(PROCESS_START, (((), process.create_time()),))
        if hasattr(process, "num_fds"):
            yield MetricReading(PROCESS_FILES, (((), process.num_fds()),))


class _Families(Collector):
    """A registry of its own for one page: nothing is registered for the whole process."""

    def __init__(self, readings: Mapping[Metric, MetricReading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            yield _build_family(metric, self._readings.get(metric) or MetricReading(metric))


def _build_family(metric: Metric, reading: MetricReading) -> Family:
    match metric.kind:
        case MetricKind.COUNTER:
            counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in reading.values:
                counter.add_metric(labels, value)
            return counter
        case MetricKind.GAUGE:
            gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in reading.values:
                gauge.add_metric(labels, value)
            return gauge
        case MetricKind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, spread in reading.spreads:
                histogram.add_metric(labels, _list_buckets(metric, spread), spread.total)
            return histogram


def _list_buckets(metric: Metric, spread: Spread) -> list[tuple[str, float]]:
    """Each counts what is at or below its bound."""
    buckets, below = [], 0
    for bound, count in zip((*map(str, metric.bounds), "+Inf"), spread.counts, strict=True):
        below += count
        buckets.append((bound, float(below)))
    return buckets
