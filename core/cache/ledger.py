"""How many KV cells are in use, when sequences share the prefixes they were forked from.

A tree of runs of tokens: each sequence is the path from the root to its tip, and a run counts once however many
sequences pass through it. This mirrors what a unified KV cache does with shared cells.
"""

from __future__ import annotations

from collections.abc import Iterable

from core.contract.step import SequenceId


class _Run:
    """Some consecutive tokens. `users` counts the sequences that end here plus the runs that continue it."""

    __slots__ = ("length", "parent", "users")

    def __init__(self, parent: _Run | None, length: int, users: int) -> None:
        self.parent = parent
        self.length = length
        self.users = users


class Ledger:
    """Counts cells; touches no model. Every sequence must be opened or forked before it is named."""

    def __init__(self) -> None:
        self._root = _Run(None, 0, 1)
        self._tips: dict[SequenceId, _Run] = {}
        self._lengths: dict[SequenceId, int] = {}
        self.used = 0
        """Distinct cells in use."""

    def __contains__(self, sequence: SequenceId) -> bool:
        return sequence in self._tips

    def __len__(self) -> int:
        return len(self._tips)

    def length(self, sequence: SequenceId) -> int:
        return self._lengths[sequence]

    def open(self, sequence: SequenceId) -> None:
        self._add(sequence, self._root, 0)

    def extend(self, sequence: SequenceId, count: int) -> None:
        """The sequence grew by `count` tokens."""
        if count == 0:
            return
        tip = self._tips[sequence]
        if tip is not self._root and tip.users == 1:
            tip.length += count
        else:
            self._tips[sequence] = _Run(tip, count, 1)
        self._lengths[sequence] += count
        self.used += count

    def fork(self, parent: SequenceId, child: SequenceId, length: int) -> None:
        """`child` begins as the first `length` tokens of `parent`."""
        self._add(child, self._run_at(parent, length), length)

    def trim(self, sequence: SequenceId, length: int) -> None:
        """Only the first `length` tokens are left."""
        old = self._tips[sequence]
        run = self._run_at(sequence, length)
        run.users += 1
        self._tips[sequence] = run
        self._lengths[sequence] = length
        self._release(old)

    def close(self, sequence: SequenceId) -> int:
        """Forget the sequence; returns the cells that became free."""
        before = self.used
        del self._lengths[sequence]
        self._release(self._tips.pop(sequence))
        return before - self.used

    def sequences(self) -> list[SequenceId]:
        return list(self._tips)

    def distinct(self, sequences: Iterable[SequenceId]) -> int:
        """Cells that these sequences hold together."""
        seen: set[int] = set()
        total = 0
        for sequence in sequences:
            run: _Run | None = self._tips[sequence]
            while run is not None and id(run) not in seen:
                seen.add(id(run))
                total += run.length
                run = run.parent
        return total

    def _add(self, sequence: SequenceId, tip: _Run, length: int) -> None:
        if sequence in self._tips:
            raise ValueError(f"sequence {sequence} is open already")
        tip.users += 1
        self._tips[sequence] = tip
        self._lengths[sequence] = length

    def _run_at(self, sequence: SequenceId, length: int) -> _Run:
        """The run that ends exactly at `length` tokens of the sequence, splitting one where needed."""
        excess = self._lengths[sequence] - length
        if excess < 0 or length < 0:
            raise ValueError(f"sequence {sequence} has {self._lengths[sequence]} tokens, not {length}")
        run = self._tips[sequence]
        while excess >= run.length and run.parent is not None:
            excess -= run.length
            run = run.parent
        if excess == 0:
            return run
        upper = _Run(run.parent, run.length - excess, 1)
        run.parent = upper
        run.length = excess
        return upper

    def _release(self, run: _Run) -> None:
        run.users -= 1
        while run.users == 0 and run.parent is not None:
            self.used -= run.length
            run = run.parent
            run.users -= 1
