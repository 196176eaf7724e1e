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
    reasoning_effort: Annotated[
        str | None,
        Meta(description="how much to think, where a model can be told: none, low, medium, high (its own)"),
    ] = None
    reasoning_budget: Annotated[
        Annotated[int, Meta(ge=-1, le=16_777_216)] | None,
        Meta(
            description="tokens of thinking before an answer; the thought is ended then; -1 any number (-1)",
            extra={"value": "TOKENS"},
        ),
    ] = None
    reasoning_message: Annotated[
        str | None,
        Meta(
            description="last words of a thought whose budget is used up (none)",
            extra={"value": "TEXT"},
        ),
    ] = None
    draft: Annotated[
        str | None,
        Meta(
            description="guess ahead: none, prompt-lookup, mtp (heads of the model), or a smaller model's name "
            "(prompt-lookup and mtp)"
        ),
    ] = None
