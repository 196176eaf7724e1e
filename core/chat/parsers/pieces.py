"""What an answer's text turns out to be, piece by piece."""

from __future__ import annotations

from msgspec import Struct


class SaidPiece(Struct, frozen=True):
    """Words for whoever asked."""

    text: str


class ThoughtPiece(Struct, frozen=True):
    """What the model thinks."""

    text: str


class CallPiece(Struct, frozen=True):
    """A whole call of a tool."""

    name: str
    arguments: str
    """A JSON object."""
    written: str
    """The call as the model wrote it, marks too."""
    typed: bool = True
    """Whether the model wrote the types of its arguments; else all but objects and lists came as texts."""


class RejectedPiece(Struct, frozen=True):
    """What began as a call does, and is none."""

    text: str
    why: str
    """A sentence; empty where nobody need be told."""


AnswerPiece = SaidPiece | ThoughtPiece | CallPiece | RejectedPiece


class NotACall(Exception):
    """What follows is no call, although it began as one. Its text is a sentence for whoever watches the request."""
