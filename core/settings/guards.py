"""How much clients may ask of the server."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    requests_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="requests a minute that are taken from all clients together; 0 any number (0)",
            extra={"called": "--rate-limit"},
        ),
    ] = 0
    """A key's own limits stand in the file of keys."""
