"""Masks in a serving loop: what each choice of a step may draw, and which guesses that leaves."""

from __future__ import annotations

from msgspec.structs import replace

from core.contract.step import Work
from core.errors import RequestError
from core.serving.sequence import ServedChoice

MaskedSteps = tuple[list[tuple[ServedChoice, Work]], list[tuple[ServedChoice, RequestError]]]


def mask_steps(work: list[tuple[ServedChoice, Work]]) -> MaskedSteps:
    """The same work under the masks of its choices, without guesses that they do not allow; beside it the choices
    whose masks cannot be followed any further, which are not to be computed."""
    if all(choice.mask is None for choice, _ in work):
        return work, []
    masked: list[tuple[ServedChoice, Work]] = []
    failed: list[tuple[ServedChoice, RequestError]] = []
    for choice, item in work:
        if choice.mask is None or not item.sample:
            masked.append((choice, item))
            continue
        try:
            draft, masks = choice.mask.follow(item.draft)
        except RequestError as error:
            failed.append((choice, error))
        else:
            # Most let words be.
            same = not masks and len(draft) == len(item.draft)
            masked.append((choice, item if same else replace(item, draft=draft, masks=masks)))
    return masked, failed
