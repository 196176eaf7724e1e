"""How much text a model that makes vectors or scores takes at once, and the memory that llama.cpp wants for it.

Pure arithmetic. Such a model keeps nothing between passes, but llama.cpp computes a pass of it in one piece, and has a
row of logits for each of its tokens, whether the model has a head for them or not (`llama_context::output_reserve`).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from core.contract.options import LoadOptions
from core.models.fit.sizing import MOST_SEQUENCES

CONTEXT_TOKENS: Final = 8_192
"""Tokens of a text at most, where nothing was asked for."""
FEWEST_TOKENS: Final = 512
BATCH_TOKENS: Final = 256
"""Of a pass over several texts on a processor: each looks at all others, to no effect, so larger ones are slower again.
With 128, 256, 512 and 1,024 tokens a text took 10.3, 10.5, 11.0 and 11.9 ms of the processor (all-MiniLM-L6-v2)."""
ACCELERATOR_FACTOR: Final = 8
"""Times as many on an accelerator."""
LOGIT_BYTES: Final = 4
LOGITS_SHARE: Final = 0.125
"""Part of the memory available after the weights that logits may take when nothing was asked for."""
MASK_BYTES: Final = 6
"""Of an element of the attention mask of a pass: float32, and a copy in float16."""
SCORE_BYTES: Final = 4
"""Of an attention score, which are kept for every head without flash attention."""


class PooledSizes(Struct, frozen=True):
    """In tokens."""

    context: int
    batch: int
    """Of a pass over several texts; one text may have more."""
    notes: tuple[str, ...] = ()

    @property
    def longest(self) -> int:
        """Tokens of the largest pass, which llama.cpp divides by the most texts that it may hold."""
        return -(-max(self.context, self.batch) // MOST_SEQUENCES) * MOST_SEQUENCES


def choose_pooled_sizes(
    options: LoadOptions, trained: int, vocabulary: int, available: int, *, weights: int = 0, accelerated: bool = False
) -> PooledSizes:
    """For a model that knows `trained` positions, with `available` bytes free beside its `weights`.

    No text is longer than the positions that the model knows, whatever is asked for.
    """
    if options.kv_room is not None:
        available = options.kv_room
    elif options.memory is not None:
        available = min(available, max(0, options.memory - weights))
    affordable = int(available * LOGITS_SHARE / (LOGIT_BYTES * max(1, vocabulary)))
    known = trained or FEWEST_TOKENS
    usual = min(known, CONTEXT_TOKENS, max(FEWEST_TOKENS, affordable))
    context = min(options.ctx_size or usual, known)
    notes = []
    if options.ctx_size is not None and options.ctx_size > known:
        notes.append(f"A text may have {known} tokens, not {options.ctx_size}: the model knows no later positions.")
    elif options.ctx_size is None and context < known:
        notes.append(f"A text may have {context} of the {known} tokens that the model knows; see --ctx-size.")
    batch = options.batch or BATCH_TOKENS * (ACCELERATOR_FACTOR if accelerated else 1)
    return PooledSizes(context, batch, tuple(notes))


def count_logit_bytes(vocabulary: int, tokens: int) -> int:
    """Of a pass of so many tokens."""
    return LOGIT_BYTES * vocabulary * tokens


def count_attention_bytes(heads: int, tokens: int, *, flash_attention: bool) -> int:
    """What attention computes with in a pass of so many tokens."""
    return tokens * tokens * (MASK_BYTES if flash_attention else MASK_BYTES + SCORE_BYTES * heads)
