"""Whether it is kept what requests have used."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class UsageSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: Annotated[
        bool,
        Meta(
            description="keep account of tokens and time by model, key and day (true)",
            extra={"called": "--no-usage"},
        ),
    ] = True
