"""Counters and histograms by labels. Adding is a look-up and an addition; reading takes a copy."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from core.observing.catalog import OTHER, Metric

MOST_SERIES: Final = 2_000
"""Of one metric. A bound that labels which are bounded themselves do not come near."""

Labels = tuple[str, ...]


class Spread(Struct, frozen=True):
    """What a histogram has seen."""

    counts: tuple[int, ...]
    """By bucket, each for itself; the last is of what is above all bounds."""
    total: float


class MetricReading(Struct, frozen=True):
    """A metric at one moment."""

    metric: Metric
    values: tuple[tuple[Labels, float], ...] = ()
    spreads: tuple[tuple[Labels, Spread], ...] = ()
    """In place of values, for a histogram."""


class Tally:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self._values: dict[Metric, dict[Labels, float]] = {}
        self._spreads: dict[Metric, dict[Labels, _Buckets]] = {}

    def add(self, metric: Metric, labels: Labels, amount: float = 1) -> None:
        series = self._values.setdefault(metric, {})
        labels = _bounded(series, labels)
        series[labels] = series.get(labels, 0) + amount

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Count a value of a histogram."""
        series = self._spreads.setdefault(metric, {})
        labels = _bounded(series, labels)
        buckets = series.get(labels)
        if buckets is None:
            buckets = series[labels] = _Buckets(len(metric.bounds) + 1)
        buckets.counts[bisect_left(metric.bounds, value)] += 1
        buckets.total += value

    def read_all(self) -> Iterator[MetricReading]:
        for metric, series in self._values.items():
            yield MetricReading(metric, tuple(series.items()))
        for metric, spreads in self._spreads.items():
            told = ((labels, Spread(tuple(each.counts), each.total)) for labels, each in spreads.items())
            yield MetricReading(metric, spreads=tuple(told))


class _Buckets:
    __slots__ = ("counts", "total")

    def __init__(self, size: int) -> None:
        self.counts = [0] * size
        self.total = 0.0


def _bounded(series: dict[Labels, float] | dict[Labels, _Buckets], labels: Labels) -> Labels:
    return labels if len(series) < MOST_SERIES or labels in series else (OTHER,) * len(labels)
