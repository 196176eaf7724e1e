"""Which GGUF files make vectors of texts, or scores of pairs of them, in place of words; and how they pool tokens.

The key and its numbers are llama.cpp's (`llama-arch.cpp`, `enum llama_pooling_type`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from core.contract.options import Pooling

NUMBERS: Final[Mapping[int, Pooling]] = {1: Pooling.MEAN, 2: Pooling.CLS, 3: Pooling.LAST, 4: Pooling.RANK}
"""What `ARCHITECTURE.pooling_type` says; 0 is none."""
ENCODERS: Final = ("bert", "bert-moe", "bert-v2", "bert-v3", "t5encoder", "-embedding", "-embed", "-embd")
"""Ends of the names of architectures that can do nothing else."""


def find_pooling(architecture: str, told: object) -> Pooling | None:
    """How a model pools, where its header `told` that number; the usual way for encoders of which it says nothing. None
    for a model that generates text."""
    known = NUMBERS.get(told) if isinstance(told, int) else None
    return known or (Pooling.MEAN if is_encoder(architecture) else None)


def is_encoder(architecture: str) -> bool:
    """Whether models of the architecture cannot generate text."""
    return architecture.endswith(ENCODERS)
