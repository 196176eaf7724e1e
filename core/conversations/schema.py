"""The file that conversations are kept in: its tables, and what is written to them, on the writer's thread.

What a turn and an answer are stands in them as JSON, so that a further field needs no new version of the file. An
answer that is being written is a row whose pieces are rows of their own, so that each second adds what is new alone.
Words are indexed without their texts (FTS5, contentless), by places: the number of a conversation in the upper bits, so
that a word's conversations are known without a look at any other table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from core.conversations.attachments import Attachment
from core.conversations.tree import ConversationTurn
from core.conversations.words import separate_words
from core.kept import decode_kept

PLACE_BITS: Final = 20
"""Of a place, that tell the texts of one conversation apart; zero is its title."""
VERSIONS: Final = (
    (
        """CREATE TABLE conversations (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
            title TEXT NOT NULL, renamed INTEGER NOT NULL, created REAL NOT NULL, changed REAL NOT NULL,
            turns INTEGER NOT NULL, model TEXT NOT NULL, deleted REAL, settings TEXT NOT NULL, chosen TEXT NOT NULL)""",
        """CREATE INDEX conversations_by_change ON conversations
            (changed DESC, id, title, created, turns, model) WHERE deleted IS NULL""",
        """CREATE TABLE turns (id TEXT PRIMARY KEY, conversation INTEGER NOT NULL, place INTEGER NOT NULL UNIQUE,
            text TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX turns_of_conversation ON turns (conversation, place)",
        """CREATE TABLE answers (id TEXT PRIMARY KEY, conversation INTEGER NOT NULL, turn TEXT NOT NULL,
            place INTEGER NOT NULL UNIQUE, text TEXT NOT NULL, indexed INTEGER NOT NULL, body TEXT NOT NULL)
            WITHOUT ROWID""",
        "CREATE INDEX answers_of_conversation ON answers (conversation, place)",
        """CREATE TABLE pieces (answer TEXT NOT NULL, number INTEGER NOT NULL, written REAL NOT NULL,
            body TEXT NOT NULL, PRIMARY KEY (answer, number)) WITHOUT ROWID""",
        """CREATE VIRTUAL TABLE words USING fts5 (title, text, content = '', columnsize = 0, prefix = '2 3 4',
            tokenize = "unicode61 remove_diacritics 2")""",
        "CREATE TABLE revision (number INTEGER NOT NULL)",
        "INSERT INTO revision VALUES (0)",
    ),
    ("CREATE TABLE drafts (process INTEGER PRIMARY KEY, written REAL NOT NULL, body TEXT NOT NULL)",),
    (
        # Where the words stand of what went with a turn; the texts are in its body.
        "CREATE TABLE attached (place INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, turn TEXT NOT NULL)",
        "CREATE INDEX attached_of_conversation ON attached (conversation, place)",
    ),
)
"""Of the file, the statements that each adds to the one before."""
_ATTACHED: Final = """SELECT attached.place, body FROM attached JOIN turns ON turns.id = turn
    WHERE attached.conversation = ? ORDER BY attached.place DESC"""


class ConversationRow(Struct, frozen=True):
    """What a conversation is apart from its turns. None leaves what is there, which another program may have
    changed."""

    id: str
    created: float
    changed: float
    turns: int
    model: str
    title: str | None = None
    renamed: bool | None = None
    settings: str | None = None
    chosen: str | None = None

    def write(self, database: sqlite3.Connection) -> None:
        """Put it in place of what was known of it; one that was deleted is back."""
        insert = """INSERT INTO conversations (id, title, renamed, created, changed, turns, model, settings, chosen)
            VALUES (?, '', 0, ?, 0, 0, '', '{}', '{}') ON CONFLICT DO NOTHING"""
        database.execute(insert, (self.id, self.created))
        update = """UPDATE conversations SET changed = max(changed, ?), turns = max(turns, ?), model = ?,
            deleted = NULL, renamed = coalesce(?, renamed), settings = coalesce(?, settings),
            chosen = coalesce(?, chosen) WHERE id = ?"""
        values = (self.changed, self.turns, self.model, self.renamed, self.settings, self.chosen, self.id)
        database.execute(update, values)
        if self.title is not None:
            _write_title(database, self.id, self.title)
        mark_revision(database)


class TurnRow(Struct, frozen=True):
    """A question that was asked."""

    id: str
    conversation: str
    question: str
    body: str
    attached: str = ""
    """Names and texts of what went with it."""

    def write(self, database: sqlite3.Connection) -> None:
        """Nothing where it is there already: a question does not change."""
        number = _find_number(database, self.conversation)
        if number is None or database.execute("SELECT 1 FROM turns WHERE id = ?", (self.id,)).fetchone():
            return
        place = _find_place(database, number)
        database.execute("INSERT INTO turns VALUES (?, ?, ?, ?, ?)", (self.id, number, place, self.question, self.body))
        _index_words(database, place, text=self.question)
        if self.attached:
            database.execute("INSERT INTO attached VALUES (?, ?, ?)", (place + 1, number, self.id))
            _index_words(database, place + 1, text=self.attached)


def join_attached(attachments: Iterable[Attachment]) -> str:
    """Names and texts that went with a question, as they are indexed."""
    return "\n".join(f"{each.name}\n{each.text}" for each in attachments)


def list_attached(number: int, database: sqlite3.Connection) -> Iterator[tuple[int, tuple[Attachment, ...]]]:
    """What went with the questions of a conversation, the newest first, and where its words stand."""
    for place, body in database.execute(_ATTACHED, (number,)):
        turn = decode_kept(body.encode(), ConversationTurn)
        yield place, turn.attachments if turn is not None else ()


class AnswerRow(Struct, frozen=True):
    """An answer as far as it is written; whole where it has ended."""

    id: str
    conversation: str
    turn: str
    text: str
    ended: bool
    body: str

    def write(self, database: sqlite3.Connection) -> None:
        """Put it in place of what was known of it, its pieces among that."""
        found = database.execute("SELECT place, text, indexed FROM answers WHERE id = ?", (self.id,)).fetchone()
        if found is not None:
            place, text, indexed = found
            if indexed:
                _forget_words(database, place, text=text)
            database.execute("DELETE FROM pieces WHERE answer = ?", (self.id,))
            update = "UPDATE answers SET text = ?, indexed = ?, body = ? WHERE id = ?"
            database.execute(update, (self.text, self.ended, self.body, self.id))
        else:
            number = _find_number(database, self.conversation)
            if number is None:
                return
            place = _find_place(database, number)
            values = (self.id, number, self.turn, place, self.text, self.ended, self.body)
            database.execute("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        if self.ended:
            _index_words(database, place, text=self.text)
            mark_revision(database)


class PieceRow(Struct, frozen=True):
    """What came of an answer since the row before."""

    answer: str
    written: float
    body: str

    def write(self, database: sqlite3.Connection) -> None:
        """Nothing where another program has forgotten the answer: nobody would ever delete the piece."""
        insert = """INSERT INTO pieces
            SELECT id, (SELECT coalesce(max(number), 0) + 1 FROM pieces WHERE answer = ?1), ?2, ?3
            FROM answers WHERE id = ?1"""
        database.execute(insert, (self.answer, self.written, self.body))


class GoneAnswers(Struct, frozen=True):
    """Answers that are in the tree no more."""

    ids: tuple[str, ...]

    def write(self, database: sqlite3.Connection) -> None:
        for answer in self.ids:
            found = database.execute("SELECT place, text, indexed FROM answers WHERE id = ?", (answer,)).fetchone()
            if found is not None and found[2]:
                _forget_words(database, found[0], text=found[1])
            database.execute("DELETE FROM pieces WHERE answer = ?", (answer,))
            database.execute("DELETE FROM answers WHERE id = ?", (answer,))


def rename_conversation(conversation: str, title: str, database: sqlite3.Connection) -> None:
    """Give it a title that stays; nothing where it is gone."""
    database.execute("UPDATE conversations SET renamed = 1 WHERE id = ?", (conversation,))
    _write_title(database, conversation, title)
    mark_revision(database)


def _write_title(database: sqlite3.Connection, conversation: str, title: str) -> None:
    found = database.execute("SELECT number, title FROM conversations WHERE id = ?", (conversation,)).fetchone()
    if found is None or found[1] == title:
        return
    if found[1]:
        _forget_words(database, found[0] << PLACE_BITS, title=found[1])
    database.execute("UPDATE conversations SET title = ? WHERE number = ?", (title, found[0]))
    _index_words(database, found[0] << PLACE_BITS, title=title)


Row = ConversationRow | TurnRow | AnswerRow | PieceRow | GoneAnswers


def mark_deleted(conversations: tuple[str, ...], when: float | None, database: sqlite3.Connection) -> None:
    """Hide conversations, or have them back for None."""
    for each in conversations:
        database.execute("UPDATE conversations SET deleted = ? WHERE id = ?", (when, each))
    mark_revision(database)


def is_deleted(conversation: str, database: sqlite3.Connection) -> bool:
    """Whether it is hidden, and can be had back."""
    query = "SELECT 1 FROM conversations WHERE id = ? AND deleted IS NOT NULL"
    return database.execute(query, (conversation,)).fetchone() is not None


def purge_deleted(before: float, database: sqlite3.Connection) -> None:
    """Forget the conversations that were deleted before a time, words and all."""
    rows = database.execute("SELECT number, title FROM conversations WHERE deleted < ?", (before,)).fetchall()
    for number, title in rows:
        _forget_texts(number, title, database)
        database.execute("DELETE FROM conversations WHERE number = ?", (number,))
    if rows:
        mark_revision(database)


def forget_conversations(conversations: tuple[str, ...], when: float, database: sqlite3.Connection) -> None:
    """Overwrite all that was said in them. That they were deleted is known still, so that no program which shows one of
    them writes it anew."""
    blank = """UPDATE conversations SET title = '', turns = 0, model = '', settings = '{}', chosen = '{}', deleted = ?
        WHERE number = ?"""
    for each in conversations:
        found = database.execute("SELECT number, title FROM conversations WHERE id = ?", (each,)).fetchone()
        if found is not None:
            _forget_texts(found[0], found[1], database)
            database.execute(blank, (when, found[0]))
    mark_revision(database)


def _forget_texts(number: int, title: str, database: sqlite3.Connection) -> None:
    if title:
        _forget_words(database, number << PLACE_BITS, title=title)
    texts = """SELECT place, text FROM turns WHERE conversation = ?1
        UNION ALL SELECT place, text FROM answers WHERE conversation = ?1 AND indexed"""
    for place, text in database.execute(texts, (number,)).fetchall():
        _forget_words(database, place, text=text)
    for place, attachments in [*list_attached(number, database)]:
        _forget_words(database, place, text=join_attached(attachments))
    for delete in (
        "DELETE FROM attached WHERE conversation = ?",
        "DELETE FROM pieces WHERE answer IN (SELECT id FROM answers WHERE conversation = ?)",
        "DELETE FROM answers WHERE conversation = ?",
        "DELETE FROM turns WHERE conversation = ?",
    ):
        database.execute(delete, (number,))


def mark_revision(database: sqlite3.Connection) -> None:
    """Have those who watch the file look at the list again."""
    database.execute("UPDATE revision SET number = number + 1")


def read_revision(database: sqlite3.Connection) -> int:
    """How often the list has changed."""
    return int(database.execute("SELECT number FROM revision").fetchone()[0])


def write_draft(process: int, body: str, written: float, database: sqlite3.Connection) -> None:
    """Put it in place of the one that the process had; an empty one is none."""
    database.execute("DELETE FROM drafts WHERE process = ?", (process,))
    if body:
        database.execute("INSERT INTO drafts VALUES (?, ?, ?)", (process, written, body))


def move_draft(process: int, to: int, database: sqlite3.Connection) -> None:
    """It belongs to another process now."""
    database.execute("UPDATE OR REPLACE drafts SET process = ? WHERE process = ?", (to, process))


def list_drafts(database: sqlite3.Connection) -> list[tuple[int, str]]:
    """Processes and what each was writing, the newest first."""
    return database.execute("SELECT process, body FROM drafts ORDER BY written DESC").fetchall()


def _find_number(database: sqlite3.Connection, conversation: str) -> int | None:
    found = database.execute("SELECT number FROM conversations WHERE id = ?", (conversation,)).fetchone()
    return None if found is None else int(found[0])


def _find_place(database: sqlite3.Connection, number: int) -> int:
    """The next one that is free."""
    most = """SELECT max(coalesce((SELECT max(place) FROM turns WHERE conversation = ?1), 0),
        coalesce((SELECT max(place) FROM answers WHERE conversation = ?1), 0),
        coalesce((SELECT max(place) FROM attached WHERE conversation = ?1), 0), ?1 << ?2)"""
    return int(database.execute(most, (number, PLACE_BITS)).fetchone()[0]) + 1


def _index_words(database: sqlite3.Connection, place: int, *, title: str = "", text: str = "") -> None:
    insert = "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)"
    database.execute(insert, (place, separate_words(title), separate_words(text)))


def _forget_words(database: sqlite3.Connection, place: int, *, title: str = "", text: str = "") -> None:
    """With the very words that were indexed there."""
    delete = "INSERT INTO words (words, rowid, title, text) VALUES ('delete', ?, ?, ?)"
    database.execute(delete, (place, separate_words(title), separate_words(text)))
