"""Conversations as a list shows them, and those in which words are found. All of it reads one state of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from core.conversations.schema import PLACE_BITS
from core.conversations.words import Snippet, make_snippet, split_query

RECENT_CONVERSATIONS: Final = 50
"""In which earlier questions are looked for."""
_LINES: Final = """SELECT id, title, created, changed, turns, model FROM conversations WHERE deleted IS NULL
    ORDER BY changed DESC, number DESC"""
_WITH_WORD: Final = f"SELECT DISTINCT rowid >> {PLACE_BITS} FROM words WHERE words MATCH ?"  # noqa: S608 - a number of ours
_LINES_OF: Final = """SELECT number, id, title, created, changed, turns, model FROM conversations
    WHERE deleted IS NULL AND number IN (SELECT value FROM json_each(?)) ORDER BY changed DESC, number DESC LIMIT ?"""
_PLACE: Final = "SELECT rowid FROM words WHERE words MATCH ? AND rowid > ? AND rowid < ? ORDER BY rowid DESC LIMIT 1"
_TEXT: Final = "SELECT text FROM turns WHERE place = ?1 UNION ALL SELECT text FROM answers WHERE place = ?1"


_QUESTIONS: Final = """SELECT text FROM turns JOIN
    (SELECT number, changed FROM conversations WHERE deleted IS NULL ORDER BY changed DESC LIMIT ?) AS lately
    ON turns.conversation = lately.number ORDER BY lately.changed DESC, turns.place DESC LIMIT ?"""


class ConversationLine(Struct, frozen=True):
    """A conversation without its turns."""

    id: str
    title: str
    created: float
    """Unix time, as `changed` is."""
    changed: float
    turns: int
    """All there are, in all branches."""
    model: str
    """Which wrote the last answer."""


class FoundConversation(Struct, frozen=True):
    """One in which all words of a query stand, anywhere in its title and messages."""

    line: ConversationLine
    snippet: Snippet
    """Of the newest message that has most of them; empty where they stand in the title alone."""


def list_lines(database: sqlite3.Connection) -> list[ConversationLine]:
    """Those that are not deleted, the ones that were changed last first."""
    return [ConversationLine(*row) for row in database.execute(_LINES)]


def list_questions(most: int, database: sqlite3.Connection) -> list[str]:
    """What was asked lately, the newest last; of conversations that are not deleted."""
    rows = database.execute(_QUESTIONS, (RECENT_CONVERSATIONS, most)).fetchall()
    return [str(text) for (text,) in reversed(rows)]


def search_words(query: str, most: int, database: sqlite3.Connection) -> list[FoundConversation]:
    """Those that have all words of the query, the ones that were changed last first; none where it has no word."""
    if not (words := split_query(query)):
        return []
    numbers: set[int] | None = None
    for word in sorted(words, key=len, reverse=True):
        having = {row[0] for row in database.execute(_WITH_WORD, (word,))}
        numbers = having if numbers is None else numbers & having
        if not numbers:
            return []
    numbered = f"[{','.join(map(str, numbers or ()))}]"
    rows = database.execute(_LINES_OF, (numbered, most)).fetchall()
    return [
        FoundConversation(ConversationLine(*row), _find_snippet(database, number, words, query))
        for number, *row in rows
    ]


def _find_snippet(database: sqlite3.Connection, number: int, words: Sequence[str], query: str) -> Snippet:
    bounds = number << PLACE_BITS, (number + 1) << PLACE_BITS
    for expression in (" AND ".join(words), " OR ".join(words)):
        if (found := database.execute(_PLACE, (expression, *bounds)).fetchone()) is not None:
            text = database.execute(_TEXT, found).fetchone()
            return make_snippet(str(text[0]), query) if text is not None else Snippet()
    return Snippet()
