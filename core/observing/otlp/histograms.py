"""The metrics of OpenTelemetry's GenAI conventions for servers, with the buckets that these name."""

from __future__ import annotations

from typing import Final

from core.observing.catalog import Metric, MetricKind
from core.observing.otlp.facts import RequestFacts
from core.observing.outcomes import RequestOutcome
from core.observing.tally import Tally

LABELS: Final = ("gen_ai.operation.name", "gen_ai.request.model", "gen_ai.provider.name")
PROVIDER: Final = "benchtop"

DURATION: Final = Metric(
    "gen_ai.server.request.duration",
    MetricKind.HISTOGRAM,
    "Duration of a request, to its last token.",
    (*LABELS, "error.type"),
    tuple(0.01 * 2**power for power in range(14)),
)
FIRST_TOKEN: Final = Metric(
    "gen_ai.server.time_to_first_token",
    MetricKind.HISTOGRAM,
    "Time to the first token of answers that came to their end.",
    LABELS,
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
PER_TOKEN: Final = Metric(
    "gen_ai.server.time_per_output_token",
    MetricKind.HISTOGRAM,
    "Mean time of a token after the first, of answers that came to their end.",
    LABELS,
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
TOKEN_USAGE: Final = Metric(
    "gen_ai.client.token.usage",
    MetricKind.HISTOGRAM,
    "Tokens of a request's prompt and of its answer.",
    (*LABELS, "gen_ai.token.type"),
    tuple(4.0**power for power in range(14)),
)
UNITS: Final = {DURATION: "s", FIRST_TOKEN: "s", PER_TOKEN: "s", TOKEN_USAGE: "{token}"}
"""The units."""


def count_request(tally: Tally, request: RequestFacts) -> None:
    labels = (request.operation, request.model, PROVIDER)
    well = request.outcome is RequestOutcome.OK
    tally.observe(DURATION, (*labels, "" if well else request.outcome.value), request.elapsed)
    for kind, tokens in (("input", request.usage.prompt_tokens), ("output", request.usage.completion_tokens)):
        if tokens:
            tally.observe(TOKEN_USAGE, (*labels, kind), tokens)
    if well and request.first is not None and request.usage.completion_tokens:
        tally.observe(FIRST_TOKEN, labels, request.first)
    if request.token_seconds is not None:
        tally.observe(PER_TOKEN, labels, request.token_seconds)
