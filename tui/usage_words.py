"""The account of what was used, in words: the same on the screen and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from core.snapshots import UsageTotals
from core.usage import UsageBy, UsageRow
from tui import format as fmt

COUNT_WRITERS: Final[Mapping[str, Callable[[UsageTotals], str]]] = MappingProxyType(
    {
        "requests": lambda totals: fmt.format_count(totals.requests),
        "failed": lambda totals: fmt.format_count(totals.failures),
        "left": lambda totals: fmt.format_count(totals.cancelled),
        "in": lambda totals: fmt.shorten_count(totals.prompt_tokens),
        "cached": lambda totals: fmt.shorten_count(totals.cached_tokens),
        "out": lambda totals: fmt.shorten_count(totals.completion_tokens),
        "thought": lambda totals: fmt.shorten_count(totals.reasoning_tokens),
        "time": lambda totals: fmt.format_seconds(totals.seconds),
    }
)
"""What stands below each heading."""
_NAMELESS: Final = MappingProxyType({UsageBy.DAY: "", UsageBy.MODEL: "(not here)", UsageBy.KEY: "(none)"})


def name_group(row: UsageRow, group: UsageBy) -> str:
    """Which day, model or key a row is about."""
    return getattr(row, group.value) or _NAMELESS[group]
