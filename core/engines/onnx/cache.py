"""The KV cache of an ONNX model: tensors that graphs made, and views into them.

A graph takes the past as one tensor a layer and part, and gives a longer one; tensors are never changed. So a
sequence is a view (a row, from where, how many tokens), a fork is another view of the same tensors, and a trim a
shorter view. Only what does not fill its tensors is copied, when it is computed with next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from core.engines.onnx.graph import Floats, Graph, Ids, OrtValue


class KvBlock:
    """Keys and values of `rows` sequences, side by side: a tensor (rows, heads, width, head) each."""

    __slots__ = ("rows", "values", "views", "width")

    def __init__(self, values: Sequence[OrtValue], rows: int, width: int) -> None:
        self.values = values
        self.rows = rows
        self.width = width
        self.views: set[SequenceView] = set()


class SequenceView:
    """The tokens of one sequence: `length` of them in a row of a block, from `start` on.

    A block knows its views and they know it, so a view must `leave` for the memory to be free at once.
    """

    __slots__ = ("block", "length", "row", "start")

    def __init__(self, block: KvBlock, row: int, start: int, length: int) -> None:
        self.block, self.row, self.start, self.length = block, row, start, length
        block.views.add(self)

    def move(self, block: KvBlock, row: int, start: int) -> None:
        """The same tokens, or more, lie here now."""
        self.leave()
        self.block, self.row, self.start = block, row, start
        block.views.add(self)

    def leave(self) -> None:
        self.block.views.discard(self)

    def share(self, length: int) -> SequenceView:
        return SequenceView(self.block, self.row, self.start, min(length, self.length))

    @property
    def end(self) -> int:
        return self.start + self.length

    def arrays(self) -> list[Floats]:
        """Its own part of each tensor, (heads, length, head); on the processor without a copy."""
        return [value.numpy()[self.row, :, self.start : self.end] for value in self.block.values]


def gather_views(graph: Graph, views: Sequence[SequenceView], *, trailing: bool = False) -> KvBlock:
    """A block whose rows are the views, in order; the block they lie in, where it is that already.

    Shorter ones are padded in front, or behind with `trailing`.
    """
    block = views[0].block
    width = max(view.length for view in views)
    if (
        width == block.width
        and len(views) == block.rows
        and all(
            view.block is block and view.row == row and view.start == (0 if trailing else width - view.length)
            for row, view in enumerate(views)
        )
    ):
        return block
    if width == 0:
        return KvBlock(graph.empty(len(views)), len(views), 0)
    tensors: list[Any] = [np.zeros((len(views), heads, width, size), graph.dtype) for heads, size in graph.shapes]
    for row, view in enumerate(views):
        if view.length:
            start = 0 if trailing else width - view.length
            for tensor, part in zip(tensors, view.arrays(), strict=True):
                tensor[row, :, start : start + view.length] = part
    return KvBlock([graph.value(tensor) for tensor in tensors], len(views), width)


def advance_views(
    graph: Graph, views: Sequence[SequenceView], ids: Ids, keep: int, *, trailing: bool = False
) -> Floats:
    """One run: append `ids` (rows, length) to the views, in order; logits of the last `keep` tokens at least.

    With padding behind, graphs put a new token at the end of its own row and not at the end of all; only single tokens
    may be appended then, unless there is nothing to pad.
    """
    rows, length = ids.shape
    left = {view.block for view in views}
    block = gather_views(graph, views, trailing=trailing)
    mask = np.ones((rows, block.width + length), np.int64)
    for row, view in enumerate(views):
        padding = slice(view.length + length, None) if trailing else slice(block.width - view.length)
        mask[row, padding] = 0
    positions = np.array([[view.length] for view in views], np.int64) + np.arange(length, dtype=np.int64)
    logits, presents = graph.run(ids, mask, positions, block.values, keep)
    made = KvBlock(presents, rows, block.width + length)
    for row, view in enumerate(views):
        view.move(made, row, 0 if trailing else block.width - view.length)
        view.length += length
    for each in left:
        settle_block(graph, each)
    return logits


def settle_block(graph: Graph, block: KvBlock) -> None:
    """Give the views that are left in a block of many rows a block of their own, so that it can be forgotten."""
    if block.rows > 1:
        for view in list(block.views):
            own = gather_views(graph, [view])
            view.move(own, 0, own.width - view.length)
