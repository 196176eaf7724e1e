"""GET /v1/cache/stats: the prefix caches of all models together."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from api.http.contract import declare_contract, reply_with
from core.snapshots import CacheStats, Snapshot
from core.workbench import Workbench

MEGABYTE_BYTES = 1_000_000


class CacheReport(Struct, frozen=True):
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


def build_cache_route(workbench: Workbench) -> HTTPRouteHandler:
    @get(
        "/v1/cache/stats",
        summary="The prefix cache in numbers",
        opt=declare_contract(reply_with(CacheReport, "The sums over all models")),
    )
    async def cache_stats() -> CacheReport:
        return report_cache(sum_cache(workbench.snapshot()))

    return cache_stats


def sum_cache(snapshot: Snapshot) -> CacheStats:
    caches = [model.cache for model in snapshot.models]
    now = CacheStats(
        entries=sum(cache.entries for cache in caches),
        memory_bytes=sum(cache.memory_bytes for cache in caches),
        max_bytes=sum(cache.max_bytes for cache in caches),
        lookups=sum(cache.lookups for cache in caches),
        hits=sum(cache.hits for cache in caches),
        prompt_tokens=sum(cache.prompt_tokens for cache in caches),
        cached_tokens=sum(cache.cached_tokens for cache in caches),
        evictions=sum(cache.evictions for cache in caches),
    )
    return now.after(snapshot.pool.past_cache)


def report_cache(stats: CacheStats) -> CacheReport:
    return CacheReport(
        entries=stats.entries,
        memory_mb=round(stats.memory_bytes / MEGABYTE_BYTES, 3),
        hit_rate=round(stats.hit_rate, 4),
        max_size_mb=round(stats.max_bytes / MEGABYTE_BYTES, 3),
        lookups=stats.lookups,
        hits=stats.hits,
        prompt_tokens=stats.prompt_tokens,
        cached_tokens=stats.cached_tokens,
        evictions=stats.evictions,
    )
