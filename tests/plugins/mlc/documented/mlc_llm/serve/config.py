"""EngineConfig with the fields that the engine sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EngineConfig:
    model: str | None = None
    max_single_sequence_length: int | None = None
    verbose: bool = True
