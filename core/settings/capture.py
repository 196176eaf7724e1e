"""Whether requests and replies are kept for their owner to look at."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class CaptureSettings(Struct, frozen=True, forbid_unknown_fields=True):
    requests: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="keep the last requests with their replies, so many, for `tui requests`; 0 keeps none (0)",
            extra={"called": "--capture", "value": "N"},
        ),
    ] = 0
    """Whoever may read the user's files can read them: prompts are in them, keys are not."""
    size: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="what they may take on disk (64)",
            extra={"called": "--capture-size", "value": "MB"},
        ),
    ] = 64
