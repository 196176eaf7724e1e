"""GGUF models that make vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from core.engines.llamacpp.encoder import LlamaEncoder

LEAST_LENGTH = np.float32(1e-12)
"""What a vector is divided by at least."""


class LlamaEmbedder(LlamaEncoder):
    """Vectors of length one, as these models' makers compare them; no file tells otherwise."""

    def encode(self, text: str, *, limit: int | None = None) -> list[int]:
        tokens = self._tokenizer.encode(text, special=False, begin=True)
        if limit is None or len(tokens) <= limit:
            return tokens
        behind = self._behind
        return [*tokens[: max(0, limit - len(behind))], *behind][:limit]

    def embed(self, inputs: Sequence[Sequence[int]]) -> list[bytes]:
        made = self.compute(inputs)
        made /= np.maximum(np.linalg.norm(made, axis=-1, keepdims=True), LEAST_LENGTH)
        return [vector.tobytes() for vector in made.astype("<f4", copy=False)]

    @cached_property
    def _behind(self) -> list[int]:
        """The tokens that the vocabulary puts behind a text."""
        bare = self._tokenizer.encode("a", special=False)
        framed = self._tokenizer.encode("a", special=False, begin=True)
        start = next((at for at in range(len(framed)) if framed[at : at + len(bare)] == bare), len(framed))
        return framed[start + len(bare) :]
