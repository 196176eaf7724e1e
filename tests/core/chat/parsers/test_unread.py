"""Text that nobody has read yet: when a parser is woken for more of it."""

from __future__ import annotations

from core.chat.parsers.family import ThinkingPhase
from core.chat.parsers.pieces import SaidPiece, ThoughtPiece
from core.chat.parsers.registry import choose_family
from core.chat.parsers.unread import UnreadText


def test_a_parser_is_woken_for_what_may_end_a_thought_and_behind_it_for_ends_of_lines() -> None:
    family = choose_family("tools <think></think> <tool_call>")
    assert family is not None
    unread = UnreadText(tidy=True)
    parser = family.parse(unread, ThinkingPhase.INSIDE, calls=True)
    next(parser)
    woken = []
    for text in ("First, ", "the weather.\n", "\n", "Then <b", "ut", "</thi", "nk>", "It is ", "warm\n"):
        if unread.push(text):
            woken.append(text)
            next(parser)
    assert woken == ["Then <b", "</thi", "nk>", "It is ", "warm\n"]
    thought = "".join(piece.text for piece in unread.pieces if isinstance(piece, ThoughtPiece))
    assert thought == "First, the weather.\n\nThen <but"
    assert "".join(piece.text for piece in unread.pieces if isinstance(piece, SaidPiece)) == "It is warm"
