"""Whether conversations of the chat are kept, and where."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class ConversationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: Annotated[
        bool,
        Meta(description="keep the chat's conversations (true)", extra={"called": "--no-conversations"}),
    ] = True
    """What was kept before stays, and is not shown."""
    folder: Annotated[str | None, Meta(extra={"local": True})] = None
    """Where they are kept, in one file that several programs may use at once; else in the platform's usual place."""
