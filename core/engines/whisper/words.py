"""From tokens to words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from core.decoding.detokenize import decode_whole
from core.events import Word

UNSPACED: Final = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages written without spaces; each character stands for a word, as in OpenAI's own whisper."""


class SpokenPiece(Struct, frozen=True):
    """A token of a transcript; times in seconds."""

    data: bytes
    """May end amid a character."""
    start: float
    end: float


def join_words(pieces: Iterable[SpokenPiece], language: str) -> tuple[Word, ...]:
    """A word begins where a piece begins with a space; without spaces, at every whole character."""
    return tuple(
        Word(text, group[0].start, max(group[0].start, group[-1].end))
        for group in _groups(pieces, spaced=language not in UNSPACED)
        if (text := decode_whole(b"".join(piece.data for piece in group)).strip())
    )


def _groups(pieces: Iterable[SpokenPiece], *, spaced: bool) -> Iterator[list[SpokenPiece]]:
    group: list[SpokenPiece] = []
    for piece in pieces:
        begins = piece.data[:1].isspace() if spaced else _whole(group)
        if group and begins:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _whole(group: list[SpokenPiece]) -> bool:
    try:
        b"".join(piece.data for piece in group).decode()
    except UnicodeDecodeError:
        return False
    return True
