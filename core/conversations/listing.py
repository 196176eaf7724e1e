"""Conversations as a list shows them, and those in which words are found. All of it reads one state of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from core.conversations.schema import PLACE_BITS, list_attached
from core.conversations.words import Snippet, count_words, make_snippet, split_query

RECENT_CONVERSATIONS: Final = 50
"""In which earlier questions are looked for."""
_LINES: Final = """SELECT id, title, created, changed, turns, model FROM conversations WHERE deleted IS NULL
    ORDER BY changed DESC, number DESC"""
_WITH_WORD: Final = (
    f"SELECT DISTINCT rowid >> {PLACE_BITS} FROM words "  # noqa: S608 - a number of ours
    "WHERE words MATCH ? AND rowid > ? AND rowid < ?"
)
_LINES_OF: Final = """SELECT number, id, title, created, changed, turns, model FROM conversations
    WHERE deleted IS NULL AND number IN (SELECT value FROM json_each(?)) ORDER BY number DESC LIMIT ?"""
_TEXTS: Final = """SELECT text FROM (SELECT place, text FROM turns WHERE conversation = ?1
    UNION ALL SELECT place, text FROM answers WHERE conversation = ?1) ORDER BY place DESC LIMIT ?2"""
_QUESTIONS: Final = """SELECT text FROM turns JOIN
    (SELECT number, changed FROM conversations WHERE deleted IS NULL ORDER BY changed DESC LIMIT ?) AS lately
    ON turns.conversation = lately.number ORDER BY lately.changed DESC, turns.place DESC LIMIT ?"""
FIRST_SPAN_CONVERSATIONS: Final = 500
"""That are looked at first, the newest ones; then of older ones four times as many, and so on."""
SPAN_FACTOR: Final = 4
MOST_SNIPPET_TEXTS: Final = 60
"""Of a conversation, the newest ones, that a snippet may come from."""
MOST_SNIPPET_CHARACTERS: Final = 100_000
"""Of a text that went with a question, in which a snippet is looked for."""
FAR_DOWN: Final = "far down in a text that went with a question"
"""In place of a snippet, where words are found behind those characters."""


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
    """Of the newest message that has most of them, or of a text that went with one; empty where they stand in the title
    alone."""


def list_lines(database: sqlite3.Connection) -> list[ConversationLine]:
    """Those that are not deleted, the ones that were changed last first."""
    return [ConversationLine(*row) for row in database.execute(_LINES)]


def list_questions(most: int, database: sqlite3.Connection) -> list[str]:
    """What was asked lately, the newest last; of conversations that are not deleted."""
    rows = database.execute(_QUESTIONS, (RECENT_CONVERSATIONS, most)).fetchall()
    return [str(text) for (text,) in reversed(rows)]


def search_words(query: str, most: int, database: sqlite3.Connection) -> list[FoundConversation]:
    """Those that have all words of the query, the ones that were changed last first; none where it has no word. Where
    more than `most` have them, those that were begun last. A word that stands in all conversations costs no more than
    a rare one, since the newest are looked at first."""
    if not (words := split_query(query)):
        return []
    high = database.execute("SELECT max(number) FROM conversations").fetchone()[0] or 0
    span = FIRST_SPAN_CONVERSATIONS
    found: list[tuple[int, ConversationLine]] = []
    while high > 0 and len(found) < most:
        low = max(0, high - span)
        if numbers := _find_numbers(database, words, low + 1, high):
            rows = database.execute(_LINES_OF, (f"[{','.join(map(str, numbers))}]", most - len(found)))
            found += [(number, ConversationLine(*row)) for number, *row in rows]
        high, span = low, span * SPAN_FACTOR
    found.sort(key=lambda each: each[1].changed, reverse=True)
    return [FoundConversation(line, _find_snippet(database, number, line.title, query)) for number, line in found]


def _find_numbers(database: sqlite3.Connection, words: Sequence[str], first: int, last: int) -> set[int]:
    """Of the conversations from one number to another, those that have all words."""
    bounds = (first << PLACE_BITS) - 1, (last + 1) << PLACE_BITS
    numbers: set[int] | None = None
    for word in words:
        having = {row[0] for row in database.execute(_WITH_WORD, (word, *bounds))}
        numbers = having if numbers is None else numbers & having
        if not numbers:
            break
    return numbers or set()


def _find_snippet(database: sqlite3.Connection, number: int, title: str, query: str) -> Snippet:
    best, most = Snippet(), 0
    for (text,) in database.execute(_TEXTS, (number, MOST_SNIPPET_TEXTS)):
        found = count_words(text, query)
        if found > most:
            best, most = make_snippet(text, query), found
            if found == count_words(query, query):
                break
    return best if most or count_words(title, query) else _find_attached(database, number, query)


def _find_attached(database: sqlite3.Connection, number: int, query: str) -> Snippet:
    """Of what went with the questions, the newest text that has one of the words, behind its name."""
    found = Snippet()
    for _, attachments in list_attached(number, database):
        for each in attachments:
            found = Snippet(FAR_DOWN)
            text, name = each.text[:MOST_SNIPPET_CHARACTERS], f"{each.name}: " if each.name else ""
            if count_words(text, query):
                return make_snippet(text, query).behind(name)
            if count_words(each.name, query):
                return make_snippet(each.name, query)
    return found
