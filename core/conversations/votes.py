"""Which of several answers was better: votes as they are kept, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.kept import keep_line, load_kept_lines

MOST_CONTESTANTS: Final = 4


class AnswerVote(Struct, frozen=True):
    """Of one question. Contestants are told apart by what they are called: a model, and settings that differ."""

    contestants: tuple[str, ...]
    winner: str = ""
    """Empty where none was better."""
    blind: bool = False
    when: float = 0.0
    """Unix time."""


class VoteCount(Struct, frozen=True):
    """How a contestant has done against these others."""

    contestant: str
    won: int = 0
    lost: int = 0
    tied: int = 0


class VoteBox:
    """Keeps votes in a file with a line for each. Touches the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, vote: AnswerVote) -> bool:
        """Keep a vote; whether it could be."""
        return keep_line(self._path, vote)

    def load(self) -> tuple[AnswerVote, ...]:
        return tuple(load_kept_lines(self._path, AnswerVote))


def count_votes(votes: Iterable[AnswerVote], contestants: Iterable[str]) -> tuple[VoteCount, ...]:
    """Of these contestants, each against the others: votes between two of them at least count. As they were given."""
    asked = tuple(dict.fromkeys(contestants))
    counts = {name: [0, 0, 0] for name in asked}
    for vote in votes:
        there = [name for name in dict.fromkeys(vote.contestants) if name in counts]
        if len(there) < 2 or (vote.winner and vote.winner not in there):
            continue
        for name in there:
            counts[name][2 if not vote.winner else 0 if vote.winner == name else 1] += 1
    return tuple(VoteCount(name, *counts[name]) for name in asked)
