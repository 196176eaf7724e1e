"""Which names a few typed letters mean: pure, and quick whatever is typed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Choice = TypeVar("Choice")


def rank_match(typed: str, name: str) -> tuple[int, int] | None:
    """How far a name is from what was typed, the nearest least: in how many pieces its words stand there, and how long
    the name is. None where one of the words is not there, not even letter by letter."""
    lowered = name.casefold()
    pieces = 0
    for word in typed.casefold().split():
        found = 1 if word in lowered else _count_pieces(word, lowered)
        if not found:
            return None
        pieces += found
    return pieces, len(name)


def pick_matches(typed: str, choices: Iterable[Choice], name: Callable[[Choice], str]) -> list[Choice]:
    """The choices whose name is meant, the nearest first; all of them as they came where nothing is typed."""
    if not typed.strip():
        return [*choices]
    ranked = [(rank, choice) for choice in choices if (rank := rank_match(typed, name(choice))) is not None]
    return [choice for _, choice in sorted(ranked, key=lambda pair: pair[0])]


def _count_pieces(word: str, name: str) -> int:
    """In how many runs the letters of a word stand in a name, in their order; zero where they do not."""
    pieces, at, last = 0, 0, -2
    for letter in word:
        found = name.find(letter, at)
        if found < 0:
            return 0
        pieces += found != last + 1
        last, at = found, found + 1
    return pieces
