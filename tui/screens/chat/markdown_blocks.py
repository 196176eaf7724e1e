"""Where a Markdown text that is still being written is cut, so that what stands before the cut is drawn once.

Drawing a growing text again and again costs more with every token. Blocks that nothing later can change are closed: a
paragraph once a blank line follows it, an item of a long list once the next one begins, a line of code with its end.
What comes after the last closed block, the tail, is shown as plain text until it closes too. Each line is read once.
"""

from __future__ import annotations

import re
from enum import Enum

from msgspec import Struct

LIST_BATCH_CHARACTERS = 400
"""Characters of a running list before its closed items are committed: fewer, larger pieces cost less."""
MOST_TABLE_ROWS = 400
"""A table of more rows is shown as it was written: to lay out thousands of cells takes too long."""
SETTLED_CHARACTERS = 12
"""Characters after which an unfinished line shows whether it is a list item."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^\n]*)")
_ITEM = re.compile(r" ?(?:[-*+]|\d{1,9}[.)])[ \t]")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")


class PieceKind(Enum):
    MARKDOWN = "markdown"
    """Complete by itself."""
    CODE_BEGUN = "code_begun"
    """The line that opens a fence."""
    CODE = "code"
    """Some whole lines inside that fence; the last one of a text may lack its end."""
    CODE_ENDED = "code_ended"
    """The line that closes it."""


class Piece(Struct, frozen=True):
    """A closed piece of a text. All pieces, one behind the other, and the tail are the text again."""

    kind: PieceKind
    text: str
    joined: bool = False
    """The list goes on in the next piece, so no gap belongs between the two."""


class Cutter:
    """Takes a text as it comes and hands out what is closed."""

    def __init__(self) -> None:
        self.tail = ""
        """What is not closed yet."""
        self.code = ""
        """The marker of the fence that the tail stands in; empty outside."""
        self._begin()

    def _begin(self) -> None:
        """Read the tail from its head."""
        self._offset = 0
        """Where the first line of the tail begins that was not read."""
        self._fence = ""
        """The marker of a fence inside a list."""
        self._in_list = False
        self._after_blank = True

    def take(self, text: str, *, ended: bool = False) -> list[Piece]:
        """More of the text; what is closed now. Where it `ended`, that is all of it."""
        self.tail += text
        out = []
        while (piece := self._next_code() if self.code else self._next()) is not None:
            out.append(piece)
        if ended and self.tail:
            kind = PieceKind.MARKDOWN if not self.code else PieceKind.CODE_ENDED if self.may_close else PieceKind.CODE
            out.append(self._cut(len(self.tail), kind))
        return out

    @property
    def may_close(self) -> bool:
        """Whether the tail reads like the end of the code that it stands in."""
        return bool(self.code) and _closes(self.tail, self.code)

    def _cut(self, end: int, kind: PieceKind, *, joined: bool = False) -> Piece:
        piece = Piece(kind, self.tail[:end], joined)
        self.tail = self.tail[end:]
        self._begin()
        return piece

    def _next(self) -> Piece | None:
        while True:
            end = self.tail.find("\n", self._offset) + 1
            line = self.tail[self._offset : end or None]
            if end or len(line) >= SETTLED_CHARACTERS:
                piece = self._cut_before(line)
                if piece is not None:
                    return piece
            if not end:
                return None
            if not self._fence and (marker := _find_fence(line)) and (not self._in_list or _at_margin(line)):
                if self._offset:
                    return self._cut(self._offset, PieceKind.MARKDOWN)
                self.code = marker
                return self._cut(end, PieceKind.CODE_BEGUN)
            closed = self._read(line)
            self._offset = end
            if closed:
                return self._cut(end, PieceKind.MARKDOWN)

    def _cut_before(self, line: str) -> Piece | None:
        """A line at the left margin may show that the list before it is closed, or an item of it."""
        if self._fence or not self._in_list or not self._offset or not _at_margin(line):
            return None
        if _ITEM.match(line):
            long = self._offset >= LIST_BATCH_CHARACTERS
            return self._cut(self._offset, PieceKind.MARKDOWN, joined=True) if long else None
        return self._cut(self._offset, PieceKind.MARKDOWN) if self._after_blank else None

    def _read(self, line: str) -> bool:
        """Take a complete line; whether it closes what stands up to it."""
        if self._fence:
            if _closes(line, self._fence):
                self._fence = ""
            self._after_blank = False
            return False
        if not line.strip():
            self._after_blank = True
            return not self._in_list
        if self._in_list and (marker := _find_fence(line.lstrip(" "))):
            self._fence = marker
        elif _at_margin(line):
            self._in_list = bool(_ITEM.match(line)) or (self._in_list and not self._after_blank)
        self._after_blank = False
        return bool(_HEADING.match(line)) and not self._in_list

    def _next_code(self) -> Piece | None:
        end = self.tail.rfind("\n") + 1
        at = 0
        for line in self.tail[:end].split("\n")[:-1]:
            if _closes(line, self.code):
                if at:
                    break
                self.code = ""
                return self._cut(len(line) + 1, PieceKind.CODE_ENDED)
            at += len(line) + 1
        return self._cut(at, PieceKind.CODE) if at else None


def _find_fence(line: str) -> str:
    """The marker that the line opens a fence with, or nothing."""
    match = _FENCE.match(line)
    if match is None or (match[1][0] == "`" and "`" in match[2]):
        return ""
    return match[1]


def _closes(line: str, marker: str) -> bool:
    mark = line.strip()
    return len(mark) >= len(marker) and not mark.strip(marker[0])


def _at_margin(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("  ", "\t"))


def split_fence(line: str) -> tuple[int, str]:
    """Of a line that opens a fence: by how many blanks it is indented, and what it says of its code."""
    bare = line.lstrip(" ")
    return len(line) - len(bare), bare.lstrip(bare[:1]).strip()


def fence_tables(text: str) -> str:
    """`text` with huge tables fenced, so that they are shown as written."""
    if text.count("\n|") < MOST_TABLE_ROWS:
        return text
    out: list[str] = []
    table: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.lstrip().startswith("|"):
            table.append(line)
            continue
        if table:
            out += ["```text", *table, "```"] if len(table) > MOST_TABLE_ROWS else table
            table = []
        out.append(line)
    return "\n".join(out)
