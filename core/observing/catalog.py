"""The metrics that there are: their names, what they say, their labels. `docs/metrics.md` lists the same.

Seconds and bytes are base units, as Prometheus has it; a label has few values, all of them ours or names of models.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

OTHER: Final = "other"
"""The label of models and endpoints that are not told apart: what clients invent must not make series."""
LOCAL: Final = "local"
"""The endpoint of requests that came by no server, such as those of the chat screen."""


class MetricKind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(Struct, frozen=True, eq=False):
    """Compared by identity: it is a key of what is counted."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, in rising order; what is above the last is counted too."""


LATENCY_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
"""Seconds. An answer of thousands of tokens takes minutes on a processor."""
FIRST_TOKEN_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
TOKEN_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
"""Seconds: from an accelerator's thousand tokens a second to a large model on few cores."""
WAIT_BOUNDS: Final = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


def _counter(name: str, what: str, *labels: str) -> Metric:
    return Metric(f"{name}_total", MetricKind.COUNTER, what, labels)


def _gauge(name: str, what: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.GAUGE, what, labels)


def _histogram(name: str, what: str, bounds: tuple[float, ...], *labels: str) -> Metric:
    return Metric(name, MetricKind.HISTOGRAM, what, labels, bounds)


# Requests, counted when they have ended.

REQUESTS: Final = _counter(
    "benchtop_requests", "Requests for a model that have ended, by what became of them.", "model", "endpoint", "outcome"
)
FINISHES: Final = _counter("benchtop_finished_choices", "Answers, by why they ended.", "model", "reason")
DURATION: Final = _histogram(
    "benchtop_request_duration_seconds",
    "From a request's arrival to the end of its answer; failed ones are left out.",
    LATENCY_BOUNDS,
    *("model", "endpoint"),
)
FIRST_TOKEN: Final = _histogram(
    "benchtop_time_to_first_token_seconds",
    "From a request's arrival to the first of its answer; loading and waiting are part of it.",
    FIRST_TOKEN_BOUNDS,
    "model",
)
PER_TOKEN: Final = _histogram(
    "benchtop_time_per_output_token_seconds",
    "Of an answer, the mean time of a token after the first.",
    TOKEN_BOUNDS,
    "model",
)
QUEUE_WAIT: Final = _histogram(
    "benchtop_queue_wait_seconds",
    "Time that a request spent in its model's queue, also of one that waited in vain.",
    WAIT_BOUNDS,
    "model",
)
TOKENS: Final = _counter(
    "benchtop_tokens",
    "Tokens by kind: prompt, of which cached ones were not computed; completion, of which some are reasoning.",
    *("model", "kind"),
)
CACHE_HITS: Final = _counter(
    "benchtop_cache_hits", "Requests whose prompt began with a stored prefix, by where it lay.", "model", "tier"
)
CACHE_TOKENS: Final = _counter(
    "benchtop_cache_reused_tokens", "Tokens of prompts that were reused, by where they lay.", "model", "tier"
)
LOST_TOKENS: Final = _counter(
    "benchtop_cache_lost_tokens", "Tokens of prompts that were computed, by why they were not reused.", "model", "cause"
)
GUESSED: Final = _counter("benchtop_draft_guessed_tokens", "Tokens that were guessed ahead and verified.", "model")
KEPT: Final = _counter("benchtop_draft_kept_tokens", "Guesses that came true.", "model")
RESPONSES: Final = _counter(
    "benchtop_http_responses", "HTTP requests that were answered, by route and status.", "endpoint", "status"
)

# What is the case now.

ARRIVING: Final = _gauge("benchtop_arriving_requests", "Requests whose model is being loaded.")
QUEUE_DEPTH: Final = _gauge("benchtop_queue_depth", "Requests that wait for a slot.", "model")
QUEUE_LIMIT: Final = _gauge("benchtop_queue_limit", "Requests that may wait; zero is any number.", "model")
SLOTS: Final = _gauge("benchtop_slots", "Requests that the model answers at once.", "model")
SLOTS_USED: Final = _gauge("benchtop_slots_used", "Slots in use.", "model")
KV_CELLS: Final = _gauge("benchtop_kv_cells", "Tokens that the KV cache holds.", "model")
KV_CELLS_USED: Final = _gauge("benchtop_kv_cells_used", "Cells of the KV cache in use.", "model")
CACHE_ENTRIES: Final = _gauge("benchtop_cache_entries", "Stored prefixes, by where they lie.", "tier")
CACHE_BYTES: Final = _gauge("benchtop_cache_bytes", "Bytes of stored prefixes.", "tier")
CACHE_LIMIT: Final = _gauge("benchtop_cache_limit_bytes", "Bytes that they may take; zero where switched off.", "tier")
CACHE_EVICTIONS: Final = _counter("benchtop_cache_evictions", "Prefixes that made room for others.", "tier")

# Models.

MODEL_INFO: Final = _gauge(
    "benchtop_model_info", "Always 1; what the model is.", "model", "engine", "kind", "architecture", "quantization"
)
MODEL_STATE: Final = _gauge("benchtop_model_state", "1 for the state that a model is in, else 0.", "model", "state")
MODEL_BYTES: Final = _gauge("benchtop_model_memory_bytes", "Memory that loading the model took.", "model")
LOADS: Final = _counter("benchtop_model_loads", "Times that the model was loaded.", "model")
LOAD_SECONDS: Final = _counter("benchtop_model_load_seconds", "Time that loading it took, in all.", "model")
LOAD_FAILURES: Final = _counter("benchtop_model_load_failures", "Times that it could not be loaded.", "model")
RESTARTS: Final = _counter("benchtop_model_restarts", "Times that it was loaded again as its engine failed.", "model")
UNLOADS: Final = _counter(
    "benchtop_model_unloads",
    "Times that it was sent away: asked for, idle, for another's room, for memory, or broken.",
    *("model", "cause"),
)
POOL_LIMIT: Final = _gauge("benchtop_models_memory_limit_bytes", "Memory that all models together may take.")
POOL_USED: Final = _gauge("benchtop_models_memory_used_bytes", "Memory that the loaded models take.")

# The machine and the process.

MACHINE_CPU: Final = _gauge("benchtop_machine_cpu_ratio", "Of all cores, the share that is busy.")
MACHINE_BYTES: Final = _gauge("benchtop_machine_memory_bytes", "Memory of the machine.")
MACHINE_FREE: Final = _gauge("benchtop_machine_memory_available_bytes", "Memory that is free or can be freed.")
DEVICE_BYTES: Final = _gauge("benchtop_device_memory_bytes", "Memory of an accelerator.", "device", "name")
DEVICE_FREE: Final = _gauge("benchtop_device_memory_free_bytes", "Memory of it that is free.", "device", "name")
DEVICE_LOAD: Final = _gauge("benchtop_device_load_ratio", "Of its time, the share that it computes.", "device", "name")
BUILD: Final = _gauge("benchtop_build_info", "Always 1; the version.", "version")
PROCESS_CPU: Final = _counter("process_cpu_seconds", "User and system time of the process.")
PROCESS_BYTES: Final = _gauge("process_resident_memory_bytes", "Resident memory of the process.")
PROCESS_START: Final = _gauge("process_start_time_seconds", "When the process started, since the epoch.")
PROCESS_FILES: Final = _gauge("process_open_fds", "Open file descriptors; not on Windows.")

TELEMETRY_DROPPED: Final = _counter(
    "benchtop_telemetry_dropped_requests", "Requests of which the OpenTelemetry collector was not told, as it lagged."
)

METRICS: Final = tuple(each for each in vars().values() if isinstance(each, Metric))
"""All of them, in the order in which they are told."""
