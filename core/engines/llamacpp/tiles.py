"""Passes that are filled up to a whole tile of llama.cpp's attention, where smaller ones are slow.

On a processor llama.cpp computes attention in tiles of TILE_ROWS rows, and passes with fewer row by row. Built for
processors with AVX512-FP16 it takes STEP_ELEMENTS of a head at a time there, and what is left one by one: all of a head
of 64. Deep in a prompt a pass of 32 tokens then takes three times as long as one of 64.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

TILE_ROWS = 64
"""GGML_FA_TILE_Q of llama.cpp."""
STEP_ELEMENTS = 128
"""GGML_F16_STEP of llama.cpp with AVX512-FP16."""
BUILT_WITH = "AVX512_BF16 = 1"
"""In what llama.cpp tells of its build; of AVX512-FP16, which came with the same processors, it tells nothing."""
ATTENTION_FACTOR = 20.0
"""Times that an operation of such attention takes as long as one on the weights: 11 and 23 were measured."""
TILED_SHARE = 0.1
"""Of that, what it takes in tiles: 0.08 to 0.12 were measured."""


class SlowRows(Struct, frozen=True):
    """How slow a model's attention is outside tiles."""

    cell_cost: float
    """That a row takes for each token before it, in times of what it takes for all the rest of the model."""

    def count_padding(self, work: Iterable[tuple[int, int]]) -> int:
        """Rows to add to a pass, so that it is computed sooner; zero as a rule. `work` holds the rows of each of its
        sequences, and the tokens that the sequence has with them."""
        rows, cells, attended = 0, 0, 0
        for count, length in work:
            rows, cells, attended = rows + count, cells + length, attended + count * length
        if rows >= TILE_ROWS:
            return 0
        as_it_is = rows + self.cell_cost * attended
        filled = TILE_ROWS * (1 + self.cell_cost * TILED_SHARE * cells)
        return TILE_ROWS - rows if filled < as_it_is else 0


def find_slow_rows(
    features: Iterable[str], build: str, *, layers: int, heads: int, head_size: int, parameters: int
) -> SlowRows | None:
    """None where attention is fast for passes of any size. `features` are the processor's, `build` is what llama.cpp
    tells of itself."""
    if head_size >= STEP_ELEMENTS or "avx512_fp16" not in features or BUILT_WITH not in build:
        return None
    # Two operations for a parameter; for a token before it two for the key and two for the value.
    return SlowRows(ATTENTION_FACTOR * 4 * layers * heads * head_size / (2 * parameters))
