"""How clients of Ollama find this server."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class OllamaSettings(Struct, frozen=True, forbid_unknown_fields=True):
    port: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None,
        Meta(
            description="a second port to listen on, for Ollama's clients, which look at 11434 (none)",
            extra={"called": "--ollama-port"},
        ),
    ] = None
