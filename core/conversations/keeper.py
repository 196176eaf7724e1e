"""Keeps one conversation as it grows: what is new of it since the last time is put on its way to the file.

Belongs to the thread that the conversation belongs to. `keep` costs little where nothing is new, so it is called
whenever something may be, and about once a second while an answer is written.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from core.conversations.reading import AnswerPiece, encode_answer, encode_text, encode_turn
from core.conversations.schema import AnswerRow, ConversationRow, GoneAnswers, PieceRow, Row, TurnRow, join_attached
from core.conversations.tree import AnswerVersion, AnswerWriter, ConversationTree, Outcome
from core.foreign_text import make_encodable

ROW_BYTES: Final = 300
"""That a row takes in memory beside its texts."""

Put = Callable[[Callable[[sqlite3.Connection], object], int], None]


class _KnownAnswer(NamedTuple):
    """What the file has of an answer."""

    outcome: Outcome
    pieces: int
    thoughts: int
    calls: bytes
    writer: AnswerWriter

    @classmethod
    def of(cls, answer: AnswerVersion) -> _KnownAnswer:
        calls = msgspec.json.encode(answer.calls) if answer.calls else b""
        return cls(answer.outcome, len(answer.pieces), len(answer.thoughts), calls, answer.writer)


class ConversationKeeper:
    """`tree` is the conversation; whoever changes it calls `keep`."""

    def __init__(self, tree: ConversationTree, put: Put, *, known: bool = False) -> None:
        """`known`: the file has the tree as it is."""
        self.tree = tree
        self._put = put
        self._row: ConversationRow | None = None
        self._turns: set[str] = set()
        self._answers: dict[str, _KnownAnswer] = {}
        self._stopped = False
        self._deleted_elsewhere = False
        if known:
            self._know(tree)

    def keep(self) -> None:
        """Have the file know what is new. A conversation without a question is not kept."""
        if self._stopped or not self.tree.turns:
            return
        rows = self._list_news()
        if rows and self._deleted_elsewhere:
            self._deleted_elsewhere = False
            self._forget()
            rows = self._list_news()
        if rows:
            size = sum(ROW_BYTES + _measure_texts(row) for row in rows)
            self._put(partial(_write_rows, rows), size)

    def stop(self) -> None:
        """Keep nothing any more: the conversation is deleted."""
        self._stopped = True

    def go_on(self) -> None:
        """Keep what comes again: it was brought back."""
        self._stopped = False

    def take_over(self, kept: ConversationTree | None, *, deleted: bool = False) -> bool:
        """See what the file has now, None where it has the conversation no more: then all of it is written anew, but
        where another program `deleted` it, only once something is said in it again. Whether anything is new here."""
        self._deleted_elsewhere = deleted
        if kept is None:
            if not deleted:
                self._forget()
            return False
        news = self.tree.merge(kept)
        there, known = _make_row(kept), self._row
        # What was changed here meanwhile stays.
        if known is None or (there.title, there.renamed) != (known.title, known.renamed):
            self.tree.title, self.tree.renamed, news = kept.title, kept.renamed, True
        if known is None or there.settings != known.settings:
            self.tree.settings, news = kept.settings, True
        self._know(kept)
        return news

    def _forget(self) -> None:
        """Take the file to know nothing."""
        self._row = None
        self._turns.clear()
        self._answers.clear()

    def _know(self, kept: ConversationTree) -> None:
        self._row = _make_row(kept)
        self._turns.update(kept.turns)
        for turn in kept.turns.values():
            for answer in turn.answers:
                self._answers.setdefault(answer.id, _KnownAnswer.of(answer))

    def _list_news(self) -> list[Row]:
        """What the file does not know yet; from now on it counts as known."""
        whole, known = _make_row(self.tree), self._row
        rows: list[Row] = []
        if whole != known:
            rows.append(whole if known is None else _leave_unchanged(whole, known))
            self._row = whole
        for turn in self.tree.turns.values():
            if turn.id not in self._turns:
                self._turns.add(turn.id)
                attached = join_attached(turn.attachments)
                question = make_encodable(turn.question)
                rows.append(TurnRow(turn.id, self.tree.id, question, encode_turn(turn), attached))
            for answer in turn.answers:
                rows += self._list_answer_news(turn.id, answer)
        here = {answer.id for turn in self.tree.turns.values() for answer in turn.answers}
        if gone := tuple(self._answers.keys() - here):
            rows.append(GoneAnswers(gone))
            for answer_id in gone:
                del self._answers[answer_id]
        return rows

    def _list_answer_news(self, turn: str, answer: AnswerVersion) -> Sequence[Row]:
        now, known = _KnownAnswer.of(answer), self._answers.get(answer.id)
        if now == known:
            return ()
        self._answers[answer.id] = now
        ended = answer.outcome is not Outcome.WRITING
        if known is None or ended or (now.outcome, now.writer) != (known.outcome, known.writer):
            return [AnswerRow(answer.id, self.tree.id, turn, make_encodable(answer.text), ended, encode_answer(answer))]
        piece = AnswerPiece(
            make_encodable("".join(answer.pieces[known.pieces :])),
            make_encodable("".join(answer.thoughts[known.thoughts :])),
            None if now.calls == known.calls else tuple(answer.calls),
            answer.tokens_so_far,
        )
        return [PieceRow(answer.id, time.time(), encode_text(piece))]


def _make_row(tree: ConversationTree) -> ConversationRow:
    path = tree.path()
    return ConversationRow(
        tree.id,
        tree.created,
        tree.changed,
        len(tree.turns),
        path[-1].answer.writer.model if path else "",
        make_encodable(tree.title),
        tree.renamed,
        tree.settings,
        encode_text(tree.chosen),
    )


def _leave_unchanged(row: ConversationRow, known: ConversationRow) -> ConversationRow:
    """None for what is as before, so that what another program made of it stays."""
    return replace(
        row,
        title=None if row.title == known.title else row.title,
        renamed=None if row.renamed == known.renamed else row.renamed,
        settings=None if row.settings == known.settings else row.settings,
        chosen=None if row.chosen == known.chosen else row.chosen,
    )


def _measure_texts(row: Row) -> int:
    return sum(len(value) for value in msgspec.structs.astuple(row) if isinstance(value, str))


def _write_rows(rows: Sequence[Row], database: sqlite3.Connection) -> None:
    for row in rows:
        row.write(database)
