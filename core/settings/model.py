"""The section `[model]`: what holds for all models that say nothing of their own."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from core.contract.options import LoadSettings


class ModelSettings(LoadSettings, frozen=True):
    """How models are loaded, and with what."""

    engine: Annotated[
        str | None, Meta(description="force an engine; `tui doctor` lists them (chosen)", extra={"also": "-e"})
    ] = None
    draft: Annotated[
        str | None,
        Meta(description="guess ahead: none, prompt-lookup, mtp, or a smaller model's name (prompt-lookup; mtp too)"),
    ] = None
