"""The ledger against a model that keeps every cell by name."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.cache.ledger import Ledger
from core.contract.step import SequenceId


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.cells: dict[SequenceId, list[object]] = {}
        self.made = 0

    def new(self) -> SequenceId:
        self.made += 1
        return SequenceId(self.made)

    def pick(self, number: int) -> SequenceId:
        return sorted(self.cells)[number % len(self.cells)]

    @rule()
    def open(self) -> None:
        sequence = self.new()
        self.ledger.open(sequence)
        self.cells[sequence] = []

    @precondition(lambda self: self.cells)
    @rule(which=st.integers(0, 99), count=st.integers(0, 9))
    def extend(self, which: int, count: int) -> None:
        sequence = self.pick(which)
        self.ledger.extend(sequence, count)
        self.cells[sequence] += [object() for _ in range(count)]

    @precondition(lambda self: self.cells)
    @rule(which=st.integers(0, 99), part=st.floats(0, 1))
    def fork(self, which: int, part: float) -> None:
        parent, child = self.pick(which), self.new()
        length = round(part * len(self.cells[parent]))
        self.ledger.fork(parent, child, length)
        self.cells[child] = self.cells[parent][:length]

    @precondition(lambda self: self.cells)
    @rule(which=st.integers(0, 99), part=st.floats(0, 1))
    def trim(self, which: int, part: float) -> None:
        sequence = self.pick(which)
        length = round(part * len(self.cells[sequence]))
        self.ledger.trim(sequence, length)
        del self.cells[sequence][length:]

    @precondition(lambda self: self.cells)
    @rule(which=st.integers(0, 99))
    def close(self, which: int) -> None:
        sequence = self.pick(which)
        before = len(self.distinct(self.cells))
        del self.cells[sequence]
        assert self.ledger.close(sequence) == before - len(self.distinct(self.cells))

    def distinct(self, sequences: dict[SequenceId, list[object]]) -> set[object]:
        return {cell for cells in sequences.values() for cell in cells}

    @invariant()
    def counts_each_cell_once(self) -> None:
        assert self.ledger.used == len(self.distinct(self.cells))
        assert {s: self.ledger.length(s) for s in self.cells} == {s: len(cells) for s, cells in self.cells.items()}
        some = {s: cells for s, cells in self.cells.items() if s % 2}
        assert self.ledger.distinct(some) == len(self.distinct(some))


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_sequence_cannot_be_forked_beyond_its_end() -> None:
    ledger = Ledger()
    ledger.open(SequenceId(1))
    ledger.extend(SequenceId(1), 3)
    with pytest.raises(ValueError, match="has 3 tokens, not 4"):
        ledger.fork(SequenceId(1), SequenceId(2), 4)


def test_a_sequence_cannot_be_opened_twice() -> None:
    ledger = Ledger()
    ledger.open(SequenceId(1))
    with pytest.raises(ValueError, match="open already"):
        ledger.open(SequenceId(1))
