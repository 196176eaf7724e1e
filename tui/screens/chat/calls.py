"""Tools that a model asks for, a card each: the name on its border, the arguments as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from textual.containers import Vertical

from core.conversations.tree import AnswerCall
from tui.widgets.plain import Plain, make_drawable

MOST_SHOWN_CHARACTERS: Final = 2000
"""Of the end of arguments that are being written: all of long ones would be wrapped anew ten times a second."""


class CallCard(Plain):
    """One call."""

    def __init__(self, call: AnswerCall) -> None:
        super().__init__(classes="call")
        self.border_title = make_drawable(call.name, lines=False)

    def show(self, call: AnswerCall) -> None:
        """Its arguments, one a line where they are whole."""
        self.update(describe_arguments(call))
        if call.whole is False:
            self.border_subtitle = "cut off"


class CallCards(Vertical):
    """All calls of an answer, in order."""

    def __init__(self) -> None:
        super().__init__(classes="calls")
        self.display = False

    def show(self, calls: Sequence[AnswerCall]) -> None:
        """The calls as they stand; cards are made as calls come."""
        cards = list(self.query(CallCard))
        fresh = [CallCard(call) for call in calls[len(cards) :]]
        if fresh:
            self.display = True
            self.mount_all(fresh)
        for card, call in zip((*cards, *fresh), calls, strict=True):
            card.show(call)


def describe_arguments(call: AnswerCall) -> str:
    """`name: value` lines, the values as JSON but for texts; what is no JSON object is shown as it was written."""
    if call.whole is None:
        return call.arguments[-MOST_SHOWN_CHARACTERS:]
    try:
        given = msgspec.json.decode(call.arguments, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return call.arguments
    return "\n".join(f"{name}: {_describe_value(bytes(value))}" for name, value in given.items()) or "no arguments"


def _describe_value(value: bytes) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.ValidationError:
        return value.decode("utf-8", "replace")
