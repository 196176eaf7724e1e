"""Sequences that decode together: one forward pass over mlx-lm's left-padded batch caches, kept between steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.contract.step import SequenceId

SLACK_TOKENS = 1024
"""Tokens of padding a row may have whatever the other rows' lengths are."""


def choose_batch(lengths: Mapping[SequenceId, int]) -> list[SequenceId]:
    """The sequences that are worth a common pass: without the longest, as long as padding would double the cache."""
    rows = sorted(lengths, key=lambda sequence: lengths[sequence])
    total = sum(lengths.values())
    while len(rows) > 1 and lengths[rows[-1]] * len(rows) > 2 * total + SLACK_TOKENS * len(rows):
        total -= lengths[rows.pop()]
    return rows


class Batch:
    """Batch caches (one a layer) and whose row is which. Joining and leaving copy; staying costs nothing."""

    def __init__(self) -> None:
        self.rows: list[SequenceId] = []
        self.caches: list[Any] = []

    def __contains__(self, sequence: SequenceId) -> bool:
        return sequence in self.rows

    def join(self, sequences: Sequence[SequenceId], caches: Sequence[Sequence[Any]]) -> None:
        """Add sequences with their caches, a list over the layers each; afterwards those are the batch's."""
        if not sequences:
            return
        merged = [layer[0].merge(list(layer)) for layer in zip(*caches, strict=True)]
        if self.rows:
            for mine, theirs in zip(self.caches, merged, strict=True):
                mine.extend(theirs)
        else:
            self.caches = merged
        self.rows += sequences

    def leave(self, sequence: SequenceId) -> list[Any]:
        """Take a sequence out, with its state as caches of its own."""
        row = self.rows.index(sequence)
        caches = [cache.extract(row) for cache in self.caches]
        self.drop(sequence)
        return caches

    def drop(self, sequence: SequenceId) -> None:
        """Take a sequence out and forget its state."""
        row = self.rows.index(sequence)
        self.rows.remove(sequence)
        if not self.rows:
            self.caches = []
            return
        kept = [index for index in range(len(self.rows) + 1) if index != row]
        for cache in self.caches:
            cache.filter(kept)
