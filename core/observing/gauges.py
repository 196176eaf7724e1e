"""A workbench's snapshot as readings of metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from core.observing.catalog import (
    ARRIVING,
    CACHE_BYTES,
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    CACHE_LIMIT,
    DEVICE_BYTES,
    DEVICE_FREE,
    DEVICE_LOAD,
    KV_CELLS,
    KV_CELLS_USED,
    LOAD_FAILURES,
    LOAD_SECONDS,
    LOADS,
    MACHINE_BYTES,
    MACHINE_CPU,
    MACHINE_FREE,
    MODEL_BYTES,
    MODEL_INFO,
    MODEL_STATE,
    OTHER,
    POOL_LIMIT,
    POOL_USED,
    PROCESS_BYTES,
    QUEUE_DEPTH,
    QUEUE_LIMIT,
    RESTARTS,
    SLOTS,
    SLOTS_USED,
    UNLOADS,
    Metric,
)
from core.observing.labels import MOST_MODELS, fit_label
from core.observing.tally import Labels, MetricReading
from core.reuse import Tier, TierStats
from core.snapshots import DeviceGauge, LifeStats, ModelSnapshot, ModelState, Snapshot

UNLOADED = "unloaded"
"""The state of a model that a request would load."""


def read_snapshot(snapshot: Snapshot) -> Iterator[MetricReading]:
    """Every metric that a snapshot tells."""
    models = snapshot.models[:MOST_MODELS]
    yield from _read_models(models)
    yield _read_states(snapshot, models)
    yield from _read_lives(snapshot.pool.lives)
    yield from _read_tiers(snapshot)
    machine = snapshot.machine
    for metric, value in (
        (ARRIVING, len(snapshot.arriving)),
        (POOL_LIMIT, snapshot.pool.limit),
        (POOL_USED, snapshot.pool.used),
        (MACHINE_CPU, machine.cpu_percent / 100),
        (MACHINE_BYTES, machine.memory_total),
        (MACHINE_FREE, machine.memory_available),
        (PROCESS_BYTES, machine.process_resident),
    ):
        yield MetricReading(metric, (((), value),))
    yield from _read_devices(machine.devices)


def _read_devices(devices: Sequence[DeviceGauge]) -> Iterator[MetricReading]:
    if not devices:
        return
    labelled = [((fit_label(device.id), fit_label(device.name)), device) for device in devices[:MOST_MODELS]]
    yield MetricReading(DEVICE_BYTES, tuple((labels, device.memory_total) for labels, device in labelled))
    yield MetricReading(DEVICE_FREE, tuple((labels, device.memory_free) for labels, device in labelled))
    loads = [(labels, device.load / 100) for labels, device in labelled if device.load is not None]
    yield MetricReading(DEVICE_LOAD, tuple(loads))


def _read_models(models: Sequence[ModelSnapshot]) -> Iterator[MetricReading]:
    values: defaultdict[Metric, list[tuple[Labels, float]]] = defaultdict(list)
    for model in models:
        labels = (fit_label(model.name),)
        for metric, value in (
            (QUEUE_DEPTH, model.queue.pending),
            (QUEUE_LIMIT, model.queue.max_depth),
            (SLOTS, model.slots),
            (SLOTS_USED, model.slots_used),
            (KV_CELLS, model.kv_cells),
            (KV_CELLS_USED, model.kv_cells_used),
            (MODEL_BYTES, model.resident),
        ):
            values[metric].append((labels, value))
        told = (model.engine, model.kind.value, model.architecture, model.quantization)
        values[MODEL_INFO].append(((*labels, *map(fit_label, told)), 1))
    for metric, series in values.items():
        yield MetricReading(metric, tuple(series))


def _read_states(snapshot: Snapshot, models: Sequence[ModelSnapshot]) -> MetricReading:
    """Also of the models that a request would load."""
    states = (*(state.value for state in ModelState), UNLOADED)
    absent = snapshot.pool.absent[: MOST_MODELS - len(models)]
    there = [*((model.name, model.state.value) for model in models), *((each.name, UNLOADED) for each in absent)]
    return MetricReading(
        MODEL_STATE,
        tuple(((fit_label(name), state), float(state == now)) for name, now in there for state in states),
    )


def _read_lives(lives: Sequence[LifeStats]) -> Iterator[MetricReading]:
    named = [(fit_label(life.name) if life.name else OTHER, life) for life in lives]
    yield MetricReading(LOADS, tuple(((name,), life.loads) for name, life in named))
    yield MetricReading(LOAD_SECONDS, tuple(((name,), life.load_seconds) for name, life in named))
    yield MetricReading(LOAD_FAILURES, tuple(((name,), life.load_failures) for name, life in named))
    yield MetricReading(RESTARTS, tuple(((name,), life.restarts) for name, life in named))
    causes = (((name, cause.value), count) for name, life in named for cause, count in life.unloads.items())
    yield MetricReading(UNLOADS, tuple(causes))


def _read_tiers(snapshot: Snapshot) -> Iterator[MetricReading]:
    caches = [model.cache for model in snapshot.models]
    resident = TierStats(
        entries=sum(cache.entries for cache in caches),
        bytes=sum(cache.memory_bytes for cache in caches),
        max_bytes=sum(cache.max_bytes for cache in caches),
        evictions=sum(cache.evictions for cache in caches) + snapshot.pool.past_cache.evictions,
    )
    tiers = (
        ((Tier.RESIDENT.value,), resident),
        ((Tier.MEMORY.value,), snapshot.prefixes_in_memory),
        ((Tier.DISK.value,), snapshot.prefixes_on_disk),
    )
    yield MetricReading(CACHE_ENTRIES, tuple((tier, stats.entries) for tier, stats in tiers))
    yield MetricReading(CACHE_BYTES, tuple((tier, stats.bytes) for tier, stats in tiers))
    yield MetricReading(CACHE_LIMIT, tuple((tier, stats.max_bytes) for tier, stats in tiers))
    yield MetricReading(CACHE_EVICTIONS, tuple((tier, stats.evictions) for tier, stats in tiers))
