"""Which sequences go through the graph together.

A graph may mask a padded past properly, or only take pasts of one length (attention fused for pasts that begin at the
first token), or let rows influence each other (activations quantized over the whole batch). Which it is cannot be read
off a graph, so `measure_batching` tries it with a few tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

import numpy as np

from core.contract.step import Work
from core.engines.onnx.cache import KvBlock, SequenceView, advance_views
from core.engines.onnx.graph import Floats, Graph
from core.errors import EngineFailed

MOST_WASTE_FACTOR: Final = 1.5
"""Cells of a padded batch for each that holds a token, at most."""
TOLERANCE_SHARE: Final = 1e-3
"""Largest difference, as a part of the range of the logits, that rounding makes; 16 times that in half precision."""
LONG, SHORT, OTHER = (1, 2, 3, 4, 5), (6, 7), (8, 9, 10, 11, 12)


class Batching(Enum):
    """Which sequences of a single token each may share a run."""

    NONE = "none"
    EQUAL = "equal"
    """Those that are equally long."""
    LEADING = "leading"
    """Any, shorter ones padded in front: plain attention."""
    TRAILING = "trailing"
    """Any, shorter ones padded behind: attention fused as `GroupQueryAttention`, which counts the mask's ones."""


def group_work(work: Sequence[Work], lengths: Sequence[int], batching: Batching) -> list[list[int]]:
    """Indices into `work` that go through the graph together, everyone once.

    Works of several tokens go alone. The others are sorted by length, so that neighbours pad each other least and the
    order is the same in the next step, when the block of this one serves again as it is.
    """
    alone = [[index] for index, item in enumerate(work) if len(item.tokens) + len(item.draft) != 1]
    single = [index for index, item in enumerate(work) if len(item.tokens) + len(item.draft) == 1]
    if batching is Batching.NONE:
        return [*([index] for index in single), *alone]
    waste = 1.0 if batching is Batching.EQUAL else MOST_WASTE_FACTOR
    together: list[list[int]] = []
    held = 0
    for index in sorted(single, key=lambda index: (-lengths[index], index)):
        if together and lengths[together[-1][0]] * (len(together[-1]) + 1) <= waste * (held + lengths[index]):
            together[-1].append(index)
            held += lengths[index]
        else:
            together.append([index])
            held = lengths[index]
    return [*together, *alone]


def measure_batching(graph: Graph) -> Batching:
    """The way in which the graph gives the same logits in a batch as alone. A dozen runs of a few tokens at most."""
    for prompts, ways in (((LONG, SHORT), (Batching.LEADING, Batching.TRAILING)), ((LONG, OTHER), (Batching.EQUAL,))):
        alone = np.concatenate([_continued(graph, [prompt], trailing=False) for prompt in prompts])
        for way in ways:
            if way is Batching.LEADING and not graph.takes_positions:
                continue
            try:
                together = _continued(graph, prompts, trailing=way is Batching.TRAILING)
            except EngineFailed:
                continue
            if _same(alone, together):
                return way
    return Batching.NONE


def _continued(graph: Graph, prompts: Sequence[Sequence[int]], *, trailing: bool) -> Floats:
    """Logits of two more tokens behind each prompt, computed in one batch: (prompts, 2, vocabulary).

    The second shows whether the first one's keys lie where they are looked for.
    """
    views = [SequenceView(KvBlock(graph.empty(1), 1, 0), 0, 0, 0) for _ in prompts]
    for view, prompt in zip(views, prompts, strict=True):
        advance_views(graph, [view], np.array([prompt], np.int64), 1)
    ids = np.array([[prompt[0]] for prompt in prompts], np.int64)
    logits = [advance_views(graph, views, ids, 1, trailing=trailing)[:, -1].copy() for _ in range(2)]
    for view in views:
        view.leave()
    return np.stack(logits, axis=1)


def _same(alone: Floats, together: Floats) -> bool:
    tolerance = TOLERANCE_SHARE * (16 if alone.dtype == np.float16 else 1)
    spread = float(alone.max() - alone.min())
    return bool(np.abs(alone.astype(np.float64) - together).max() <= tolerance * max(spread, 1e-9))
