"""What is written about the metrics, beside the code, is what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from core.observing.catalog import METRICS, MetricKind

DOCS = Path(__file__).parents[3] / "docs"
SUFFIXES = {MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count")}
SERIES = {metric.name + suffix: metric for metric in METRICS for suffix in SUFFIXES.get(metric.kind, ("",))}
"""Metrics by the names that queries use."""


def test_the_documented_list_is_the_one_of_the_code() -> None:
    page = (DOCS / "metrics.md").read_text()
    told = [line for line in page.splitlines() if line.startswith(("| `benchtop_", "| `process_"))]
    assert told == [
        f"| `{each.name}` | {each.kind.value} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in METRICS
    ]


def test_names_end_in_their_units_and_counters_in_total() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.endswith("_total") is (metric.kind is MetricKind.COUNTER)
        assert bool(metric.bounds) is (metric.kind is MetricKind.HISTOGRAM)
        assert [*metric.bounds] == sorted(set(metric.bounds))


def test_every_query_of_the_dashboard_names_metrics_and_labels_that_exist() -> None:
    board = json.loads((DOCS / "grafana.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    queries += [each["definition"] for each in board["templating"]["list"] if "definition" in each]
    shown = set()
    for query in queries:
        used = [SERIES[name] for name in re.findall(r"\b(?:benchtop|process)_\w+", query)]
        assert used, query
        shown.update(used)
        labels = {label for metric in used for label in metric.labels} | {"le"}
        grouped = {name.strip() for group in re.findall(r"by \(([^)]*)\)", query) for name in group.split(",")}
        matched = set(re.findall(r"(\w+)\s*=~?\s*\"", query))
        assert grouped | matched <= labels, query
    told_elsewhere = {
        "info",
        "limit_bytes",
        "queue_limit",
        "start_time",
        "open_fds",
        "memory_bytes",
        "memory_used",
        "telemetry",
    }
    assert all(any(part in metric.name for part in told_elsewhere) for metric in set(METRICS) - shown)


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    board = json.loads((DOCS / "grafana.json").read_text())
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
