"""The section `[encoding]`: what holds for models that make vectors or scores of texts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class EncodingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    window: Annotated[
        float,
        Meta(
            ge=0,
            le=1000,
            description="how long requests for vectors wait for others to be computed with; one that comes alone "
            "never waits (2)",
            extra={"called": "--encoding-window", "value": "MS"},
        ),
    ] = 2.0
    cache_size: Annotated[
        int,
        Meta(
            ge=0,
            le=16_384,
            description="memory of each such model for the vectors and scores of texts that come again; 0 keeps none "
            "(64)",
            extra={"called": "--encoding-cache-size", "value": "MB"},
        ),
    ] = 64
