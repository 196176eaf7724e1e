"""How long the answers of a model were lately, and so when one that is written now may end."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from core.requests import Generation
from core.serving.ability import Request
from core.snapshots import EtaBasis, RequestRow

KEPT_ANSWERS: Final = 64


class AnswerLengths:
    """One thread notes, any may ask."""

    def __init__(self) -> None:
        self._tokens: deque[int] = deque(maxlen=KEPT_ANSWERS)

    def note_end(self, row: RequestRow, asked: Request) -> None:
        """An answer has ended that nobody cut off."""
        if isinstance(asked, Generation) and row.completion_tokens:
            self._tokens.append(row.completion_tokens // asked.n)

    def estimate_end(self, row: RequestRow, asked: Request) -> RequestRow:
        """The row of an answer that is being written, with the seconds until its end where they can be told."""
        if not isinstance(asked, Generation) or row.rate <= 0:
            return row
        made = row.completion_tokens // asked.n
        found = estimate_length(made, asked.max_tokens, tuple(self._tokens))
        if found is None:
            return row
        tokens, basis = found
        return replace(row, eta=max(0, tokens - made) * asked.n / row.rate, eta_basis=basis)


def estimate_length(made: int, most: int | None, lengths: Collection[int]) -> tuple[int, EtaBasis] | None:
    """Tokens that an answer will have which has `made` of them and may have `most`: as many as the middle one of those
    of `lengths` that were longer. None where nothing can be told."""
    longer = sorted(length for length in lengths if length > made)
    usual = longer[len(longer) // 2] if longer else None
    if most is not None and (usual is None or usual >= most):
        return most, EtaBasis.MAX_TOKENS
    return None if usual is None else (usual, EtaBasis.USUAL_LENGTH)
