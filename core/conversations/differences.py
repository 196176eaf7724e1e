"""Where answers to the same question differ, word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final

MOST_COMPARED_WORDS: Final = 1500
"""Of each text. Comparing takes the square of their number in the worst case; what is behind them is not marked."""
_WORD: Final = re.compile(r"\w+|[^\w\s]")

Span = tuple[int, int]
"""From this character up to that one."""


def find_differences(texts: Sequence[str]) -> tuple[tuple[Span, ...], ...]:
    """For each text the parts of it that stand in none of the others; in order, and none touches the next. Takes up to
    a second of a processor."""
    words = [[*_WORD.finditer(text)][:MOST_COMPARED_WORDS] for text in texts]
    plain = [[found[0].casefold() for found in each] for each in words]
    shared: list[set[int]] = [set() for _ in texts]
    for one in range(len(texts)):
        for other in range(one + 1, len(texts)):
            matcher = SequenceMatcher(None, plain[one], plain[other], autojunk=False)
            for block in matcher.get_matching_blocks():
                shared[one].update(range(block.a, block.a + block.size))
                shared[other].update(range(block.b, block.b + block.size))
    return tuple(_join_spans(words[number], shared[number]) for number in range(len(texts)))


def _join_spans(words: Sequence[re.Match[str]], shared: set[int]) -> tuple[Span, ...]:
    """One span for words of a row."""
    spans: list[Span] = []
    last = -2
    for number, found in enumerate(words):
        if number in shared:
            continue
        if number == last + 1:
            spans[-1] = (spans[-1][0], found.end())
        else:
            spans.append(found.span())
        last = number
    return tuple(spans)
