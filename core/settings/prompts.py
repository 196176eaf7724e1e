"""What is done to prompts before their model reads them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class PromptSettings(Struct, frozen=True, forbid_unknown_fields=True):
    drop_counters: Annotated[
        bool,
        Meta(
            description="leave out what agents tell anew with each request: billing headers, counts of tokens (true)",
            extra={"called": "--no-drop-counters"},
        ),
    ] = True
    """Exact forms alone, so that a prompt begins as the one before and is reused."""
