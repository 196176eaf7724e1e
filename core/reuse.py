"""What was reused of prompts and what was computed again, and why: of one request, of a model, of the tiers."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

Key = TypeVar("Key")


class Tier(Enum):
    """Where a reused prefix came from."""

    RESIDENT = "resident"
    """A sequence in the model's KV cache."""
    MEMORY = "memory"
    """A state put aside in this process's memory."""
    DISK = "disk"


class Cause(Enum):
    """Why tokens of a prompt were computed that might have been reused."""

    FIRST_SEEN = "first_seen"
    SYSTEM_CHANGED = "system_changed"
    TOOLS_CHANGED = "tools_changed"
    HISTORY_EDITED = "history_edited"
    REASONING_STRIPPED = "reasoning_stripped"
    """The client sent an answer back without the reasoning before it."""
    TEMPLATE_CHANGED = "template_changed"
    """The template is another, or wrote the same messages differently."""
    EVICTED = "evicted"
    OTHER_TENANT = "other_tenant"
    """Known under another key or cache salt alone, which is as good as unknown."""
    ADAPTER_CHANGED = "adapter_changed"
    NO_CACHE_ASKED = "no_cache_asked"


class Departure(Struct, frozen=True):
    """Where a prompt leaves the nearest conversation that is known."""

    token: int
    """Index of the first token that differs."""
    known: str
    """How the known conversation goes on, a few words."""
    asked: str
    """How the prompt goes on."""


class Reuse(Struct, frozen=True):
    """How much of a prompt was reused, and why no more."""

    tokens: int = 0
    """Reused."""
    tier: Tier | None = None
    """None where nothing was reused."""
    cause: Cause | None = None
    """None where nothing that was known had to be computed again."""
    detail: str = ""
    """For `evicted`, by what."""
    lost: int = 0
    """Tokens computed for that cause."""
    departure: Departure | None = None
    """None where the prompt leaves no known conversation."""


class CacheStats(Struct, frozen=True):
    """The prefix cache of one model: finished sequences kept in the KV cache, and what was reused from any tier."""

    entries: int = 0
    memory_bytes: int = 0
    """KV bytes in use, by resident and running sequences; what they share counts once."""
    max_bytes: int = 0
    """The whole KV cache, which residents share with running sequences."""
    lookups: int = 0
    hits: int = 0
    """Lookups that reused at least one token."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    evictions: int = 0
    """Finished sequences that left the KV cache to make room in it."""
    reused: Mapping[Tier, int] = {}
    """Tokens of prompts that came from each tier."""
    lost: Mapping[Cause, int] = {}
    """Tokens of prompts that were computed, by the cause."""

    def after(self, past: CacheStats) -> CacheStats:
        """With the totals of what went before added, not its entries and bytes, which are gone."""
        return replace(
            self,
            lookups=self.lookups + past.lookups,
            hits=self.hits + past.hits,
            prompt_tokens=self.prompt_tokens + past.prompt_tokens,
            cached_tokens=self.cached_tokens + past.cached_tokens,
            evictions=self.evictions + past.evictions,
            reused=_added(self.reused, past.reused),
            lost=_added(self.lost, past.lost),
        )

    @property
    def hit_rate(self) -> float:
        return self.hits / self.lookups if self.lookups else 0.0


def _added(some: Mapping[Key, int], others: Mapping[Key, int]) -> Mapping[Key, int]:
    return {key: some.get(key, 0) + others.get(key, 0) for key in {**some, **others}}


class TierStats(Struct, frozen=True):
    """A tier of stored prefixes, of all models together."""

    entries: int = 0
    bytes: int = 0
    max_bytes: int = 0
    """Zero where the tier is switched off."""
    evictions: int = 0
    problem: str = ""
    """Why nothing is stored in it, for the time being or until the next start; empty where it works."""
