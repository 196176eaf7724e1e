"""What an answer's text turns out to be, piece by piece."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

MIDST: Final = "The answer ends in the midst of a call."


class SaidPiece(Struct, frozen=True):
    """Words for whoever asked."""

    text: str


class ThoughtPiece(Struct, frozen=True):
    """What the model thinks."""

    text: str


class CallBegunPiece(Struct, frozen=True):
    """A call of one of the tools. Its arguments follow, then its end."""

    name: str


class ArgumentsPiece(Struct, frozen=True):
    """More of the JSON object of the arguments."""

    text: str


class CallEndedPiece(Struct, frozen=True):
    """Nothing more of the call will come."""

    why: str = ""
    """A sentence for whoever watches the request, where something is wrong with the call."""
    whole: bool = True
    """Whether its arguments are one JSON object."""


class RejectedPiece(Struct, frozen=True):
    """What began as a call does, and is none, or none that is handed out."""

    text: str
    why: str
    """A sentence; empty where nobody need be told."""


AnswerPiece = SaidPiece | ThoughtPiece | CallBegunPiece | ArgumentsPiece | CallEndedPiece | RejectedPiece


class NotACall(Exception):
    """What follows is no call, although it began as one. Its text is a sentence for whoever watches the request."""


class CallCut(NotACall):
    """The answer ends in the midst of what is a call so far."""

    def __init__(self) -> None:
        super().__init__(MIDST)
