"""What is left of a client's limits, as headers of answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import ceil

from msgspec import Struct

from api.http.replies import Headers


class RateState(Struct, frozen=True):
    """Of requests or of tokens."""

    limit: int
    remaining: int
    reset: float
    """Seconds until all of it is there again."""


def write_rates(what: str, state: RateState) -> Headers:
    """As OpenAI has it; `what` is `requests` or `tokens`."""
    told = {"limit": str(state.limit), "remaining": str(state.remaining), "reset": write_seconds(state.reset)}
    return tuple((f"x-ratelimit-{name}-{what}".encode(), value.encode()) for name, value in told.items())


def write_messages_rates(what: str, state: RateState) -> Headers:
    """As Anthropic has it."""
    reset = (datetime.now(UTC) + timedelta(seconds=ceil(state.reset))).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = {"limit": str(state.limit), "remaining": str(state.remaining), "reset": reset}
    return tuple((f"anthropic-ratelimit-{what}-{name}".encode(), value.encode()) for name, value in told.items())


def write_seconds(seconds: float) -> str:
    """As OpenAI's headers have it: `6m0s`, `1s`, `20ms`."""
    if seconds < 1:
        return f"{ceil(seconds * 1000)}ms"
    whole = ceil(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{whole % 60}s"
