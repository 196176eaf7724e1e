"""Which guesses are kept: those that the model draws itself, up to the first that it does not."""

from __future__ import annotations

import pytest

from core.contract.step import SequenceId, Work
from core.decoding.verify import verify_draft

DRAWS = (7, 8, 9, 10)
"""What the model draws, place by place, as long as its guesses come true."""


@pytest.mark.parametrize(
    ("draft", "drawn"),
    [
        ((), (7,)),
        ((7,), (7, 8)),
        ((7, 8, 9), (7, 8, 9, 10)),
        ((5, 8, 9), (7,)),
        ((7, 5, 9), (7, 8)),
    ],
)
def test_guesses_are_kept_up_to_the_first_that_the_model_does_not_draw(
    draft: tuple[int, ...], drawn: tuple[int, ...]
) -> None:
    places: list[int] = []

    def draw(place: int, _: bytes | None) -> int:
        places.append(place)
        return DRAWS[place]

    assert verify_draft(Work(SequenceId(0), (1,), sample=True, draft=draft), draw) == drawn
    # A draw changes the state of a sampler: none may be made behind a guess that was wrong.
    assert places == list(range(len(drawn)))


def test_each_place_is_drawn_under_its_own_mask() -> None:
    masks = (b"\x01", b"\x02", b"\x04")
    seen: list[bytes | None] = []

    def draw(place: int, mask: bytes | None) -> int:
        seen.append(mask)
        return DRAWS[place]

    verify_draft(Work(SequenceId(0), (1,), sample=True, draft=(7, 8), masks=masks), draw)
    assert tuple(seen) == masks
