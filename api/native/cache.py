"""GET /v1/cache/stats: the prefix caches of all models together."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct
from msgspec.structs import replace

from api.http.contract import declare_contract, reply_with
from api.http.redact import drop_folders
from core.reuse import CacheStats, Cause, Tier, TierStats
from core.snapshots import Snapshot
from core.workbench import Workbench

MEGABYTE_BYTES = 1_000_000


class TierReport(Struct, frozen=True):
    """A tier of the cache. The resident one is the KV caches of the models that are loaded."""

    entries: int
    size_mb: float
    max_size_mb: float
    """Zero where the tier is switched off, and of the disk before a model was loaded."""
    reused_tokens: int
    evictions: int
    problem: str | None = None
    """Why nothing is stored in it, for the time being or until the next start."""


class CacheReport(Struct, frozen=True):
    """Of all models together. `entries`, `memory_mb` and `max_size_mb` count what is in memory, in KV caches or put
    aside."""

    entries: int
    memory_mb: float
    hit_rate: float
    """Lookups that reused at least one token, of all lookups."""
    max_size_mb: float
    lookups: int
    hits: int
    prompt_tokens: int
    cached_tokens: int
    evictions: int
    """From the KV caches."""
    lost_tokens: dict[str, int]
    """Tokens of prompts that were computed, by the cause; see `reuse` of a request."""
    resident: TierReport
    memory: TierReport
    disk: TierReport


def build_cache_route(workbench: Workbench) -> HTTPRouteHandler:
    @get(
        "/v1/cache/stats",
        summary="The prefix cache in numbers",
        opt=declare_contract(reply_with(CacheReport, "The sums over all models"), sums=True),
    )
    async def cache_stats() -> CacheReport:
        return report_cache(workbench.snapshot())

    return cache_stats


def sum_cache(snapshot: Snapshot) -> CacheStats:
    """Of the models that are loaded, with the totals of those that were."""
    caches = [model.cache for model in snapshot.models]
    totals = snapshot.pool.past_cache
    for cache in caches:
        totals = cache.after(totals)
    return replace(
        totals,
        entries=sum(cache.entries for cache in caches),
        memory_bytes=sum(cache.memory_bytes for cache in caches),
        max_bytes=sum(cache.max_bytes for cache in caches),
    )


def report_cache(snapshot: Snapshot) -> CacheReport:
    stats, memory = sum_cache(snapshot), snapshot.prefixes_in_memory
    return CacheReport(
        entries=stats.entries + memory.entries,
        memory_mb=_megabytes(stats.memory_bytes + memory.bytes),
        hit_rate=round(stats.hit_rate, 4),
        max_size_mb=_megabytes(stats.max_bytes + memory.max_bytes),
        lookups=stats.lookups,
        hits=stats.hits,
        prompt_tokens=stats.prompt_tokens,
        cached_tokens=stats.cached_tokens,
        evictions=stats.evictions,
        lost_tokens={cause.value: stats.lost.get(cause, 0) for cause in Cause},
        resident=TierReport(
            stats.entries,
            _megabytes(stats.memory_bytes),
            _megabytes(stats.max_bytes),
            stats.reused.get(Tier.RESIDENT, 0),
            stats.evictions,
        ),
        memory=_report_tier(memory, stats.reused.get(Tier.MEMORY, 0)),
        disk=_report_tier(snapshot.prefixes_on_disk, stats.reused.get(Tier.DISK, 0)),
    )


def _report_tier(tier: TierStats, reused: int) -> TierReport:
    return TierReport(
        tier.entries,
        _megabytes(tier.bytes),
        _megabytes(tier.max_bytes),
        reused,
        tier.evictions,
        drop_folders(tier.problem) or None,
    )


def _megabytes(count: int) -> float:
    return round(count / MEGABYTE_BYTES, 3)
