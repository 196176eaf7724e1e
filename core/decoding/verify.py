"""The check of guesses: which of them the model itself draws. Decided here for all engines."""

from __future__ import annotations

from collections.abc import Callable

from core.contract.step import Work


def verify_draft(work: Work, draw: Callable[[int, bytes | None], int]) -> tuple[int, ...]:
    """The tokens that a step draws: one behind the tokens of `work`, and one behind each guess that came true.

    `draw(index, mask)` draws the token behind the first `index` guesses, with what `mask` allows there; it is called
    for one index after the other, and never behind a guess that did not come true. So the step draws what it would
    draw without guesses, and of them it keeps one less than it draws.
    """
    drawn = [draw(0, work.mask(0))]
    for index, guess in enumerate(work.draft, 1):
        if guess != drawn[-1]:
            break
        drawn.append(draw(index, work.mask(index)))
    return tuple(drawn)
