"""Speculation without its thrift, for tests that ask what guesses do to answers and not whether they pay."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from core.decoding import speculate
from core.decoding.balance import Balance
from core.decoding.speculate import GuessWish


def guess_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing depends on how long a step takes then: all is guessed that there is room for, from the first step on."""

    def choose_all(runs: Sequence[int], most: Sequence[int], *_: object, **__: object) -> list[int]:
        return [count // len(runs) if run else 0 for run, count in zip(runs, most, strict=True)]

    monkeypatch.setattr(Balance, "guesses", True)
    monkeypatch.setattr(Balance, "rests", False)
    monkeypatch.setattr(Balance, "usual", 1.0)
    monkeypatch.setattr(speculate, "choose_counts", choose_all)


class GuessingStub:
    """What proposers of tests have in common."""

    name = "stub"
    promised = 0
    reading = False

    def weigh(self, wishes: Sequence[GuessWish]) -> list[int]:
        return [64] * len(wishes)

    def propose(self, wishes: Sequence[GuessWish]) -> list[list[int]]:
        return [[7] * wish.most for wish in wishes]

    def forget(self, wish: GuessWish) -> None: ...

    def shutdown(self) -> None: ...
