"""From rows to trees. A row that cannot be understood costs itself alone."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.conversations.schema import AnswerRow
from core.conversations.tree import AnswerCall, AnswerVersion, ConversationTree, ConversationTurn, Outcome
from core.foreign_text import make_encodable
from core.kept import decode_kept

_HEAD: Final = """SELECT number, title, renamed, created, changed, settings, chosen FROM conversations
    WHERE id = ? AND deleted IS NULL"""
_TURNS: Final = "SELECT text, body FROM turns WHERE conversation = ? ORDER BY place"
_ANSWERS: Final = "SELECT id, turn, text, body FROM answers WHERE conversation = ? ORDER BY place"
_PIECES: Final = """SELECT answer, pieces.body FROM pieces JOIN answers ON answers.id = answer WHERE conversation = ?
    ORDER BY answer, number"""
_LEFT: Final = """SELECT answers.id, conversations.id, turn, text, answers.body FROM answers
    JOIN conversations ON number = conversation
    WHERE answers.id IN (SELECT answer FROM pieces GROUP BY answer HAVING max(written) < ?)"""


class AnswerPiece(Struct, frozen=True):
    """What came of an answer within about a second."""

    text: str = ""
    thought: str = ""
    calls: tuple[AnswerCall, ...] | None = None
    """All calls there are; None where they are as before."""
    tokens: int = 0


def read_tree(conversation: str, database: sqlite3.Connection) -> ConversationTree | None:
    """A conversation with all its turns; None where there is none, or it is deleted. Answers that somebody writes
    still, or that were never ended, are cut off."""
    head = database.execute(_HEAD, (conversation,)).fetchone()
    if head is None:
        return None
    number, title, renamed, created, changed, settings, chosen = head
    way = decode_kept(chosen.encode(), dict[str, str]) or {}
    tree = ConversationTree(conversation, title, bool(renamed), created, changed, settings, chosen=way)
    for text, body in database.execute(_TURNS, (number,)):
        if (turn := decode_kept(body.encode(), ConversationTurn)) is not None:
            turn.question = text
            tree.turns[turn.id] = turn
    pieces: dict[str, list[str]] = {}
    for answer, body in database.execute(_PIECES, (number,)):
        pieces.setdefault(answer, []).append(body)
    for answer_id, turn_id, text, body in database.execute(_ANSWERS, (number,)):
        answer = read_answer(text, body, pieces.get(answer_id, ()))
        if answer is not None and turn_id in tree.turns:
            tree.turns[turn_id].answers.append(answer)
    tree.turns = {each.id: each for each in tree.turns.values() if each.answers}
    return tree


def read_answer(text: str, body: str, pieces: list[str] | tuple[()]) -> AnswerVersion | None:
    """An answer with the pieces that came since its row was written; None for a row that cannot be understood."""
    answer = decode_kept(body.encode(), AnswerVersion)
    if answer is None:
        return None
    found = [piece for each in pieces if (piece := decode_kept(each.encode(), AnswerPiece)) is not None]
    texts, thoughts = [text], [*answer.thoughts]
    for piece in found:
        texts.append(piece.text)
        thoughts.append(piece.thought)
        if piece.calls is not None:
            answer.calls = [*piece.calls]
        answer.tokens_so_far = piece.tokens
    # One piece each: an empty one would count as something said.
    answer.pieces = [whole] if (whole := "".join(texts)) else []
    answer.thoughts = [whole] if (whole := "".join(thoughts)) else []
    if answer.outcome is Outcome.WRITING:
        answer.outcome = Outcome.CUT_OFF
    return answer


def encode_answer(answer: AnswerVersion) -> str:
    """All of an answer but its text."""
    thoughts = [make_encodable(whole)] if (whole := answer.thought) else []
    # Names of files may be in both.
    writer = replace(answer.writer, model=make_encodable(answer.writer.model))
    return encode_text(replace(answer, pieces=[], thoughts=thoughts, error=make_encodable(answer.error), writer=writer))


def encode_turn(turn: ConversationTurn) -> str:
    """All of a turn but its question and its answers."""
    return encode_text(replace(turn, question="", answers=[]))


def encode_text(value: Struct | dict[str, str]) -> str:
    """As JSON."""
    return msgspec.json.encode(value).decode()


def fold_pieces(before: float, database: sqlite3.Connection) -> None:
    """Put the answers together whose last piece is older: the programs that wrote them were killed."""
    for answer_id, conversation, turn, text, body in database.execute(_LEFT, (before,)).fetchall():
        pieces = database.execute("SELECT body FROM pieces WHERE answer = ? ORDER BY number", (answer_id,))
        if (answer := read_answer(text, body, [each for (each,) in pieces])) is not None:
            AnswerRow(answer_id, conversation, turn, answer.text, True, encode_answer(answer)).write(database)
