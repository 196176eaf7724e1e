"""Where a Markdown text that is still being written may be cut, so that what stands before the cut is rendered once.

Rendering a growing text again and again costs more with every token. Blocks that nothing later can change are
closed: a paragraph once a blank line follows it, an item once the next one begins, a fence once it ends. What comes
after the last closed block, the tail, is shown as plain text until it closes too.
"""

from __future__ import annotations

import re

from msgspec import Struct

LIST_BATCH_CHARACTERS = 400
"""Characters of a running list before its closed items are committed: fewer, larger pieces cost less."""
FENCE_BATCH_LINES = 40
"""Lines of a running fence before they are committed."""
MOST_TABLE_ROWS = 60
"""A table of more rows is shown as it was written: thousands of cells take seconds to lay out."""
SETTLED_CHARACTERS = 12
"""Characters after which an unfinished line shows whether it is a list item."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ITEM = re.compile(r" ?(?:[-*+]|\d{1,9}[.)])[ \t]")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")


class Piece(Struct, frozen=True):
    """A closed piece of Markdown and the tail that is left."""

    text: str
    """Complete Markdown by itself."""
    rest: str
    joined: bool = False
    """The block goes on in the next piece, so no gap belongs between the two."""


def cut_closed(tail: str) -> Piece | None:
    """The largest closed piece at the head of `tail`, or None while nothing is closed."""
    walk = _Walk()
    for line in tail.splitlines(keepends=True):
        if not walk.take(line):
            break
    return walk.piece(tail)


class _Walk:
    """Reads a tail line by line and remembers the last places where it may be cut."""

    def __init__(self) -> None:
        self._offset = 0
        """Where the line being read begins."""
        self._cut = 0
        self._item_cut = 0
        """The last place between two items of a list that goes on."""
        self._fence = ""
        """The marker of the fence being read, empty outside."""
        self._opening = ""
        """The first line of a fence that stands at the head of the tail."""
        self._in_list = False
        self._after_blank = True

    def take(self, line: str) -> bool:
        """Read a line; False for one that is still being written."""
        complete = line.endswith("\n")
        if complete or len(line) >= SETTLED_CHARACTERS:
            self._mark_before(line)
        if not complete:
            return False
        ends_block = self._read_in_fence(line) if self._fence else self._read(line)
        self._offset += len(line)
        if ends_block:
            self._cut, self._item_cut = self._offset, 0
        return True

    def piece(self, tail: str) -> Piece | None:
        """The best cut there is."""
        done = tail[: self._offset]
        if not self._fence and not self._in_list and self._after_blank and done.strip():
            self._cut = self._offset
        if self._item_cut - self._cut >= LIST_BATCH_CHARACTERS:
            return Piece(tail[: self._item_cut], tail[self._item_cut :], joined=True)
        if self._cut:
            return Piece(tail[: self._cut], tail[self._cut :])
        if self._opening and done.count("\n") > FENCE_BATCH_LINES:
            # Both halves must be code: the first is closed here, the second opened again.
            return Piece(f"{done}{self._fence}\n", f"{self._opening}{tail[self._offset :]}", joined=True)
        return None

    def _mark_before(self, line: str) -> None:
        """A line at the left margin may show that what stands before it is closed."""
        if self._fence or not self._offset or not _at_margin(line):
            return
        if self._in_list and _ITEM.match(line):
            self._item_cut = self._offset
        elif self._after_blank:
            self._cut, self._item_cut = self._offset, 0

    def _read_in_fence(self, line: str) -> bool:
        mark = line.strip()
        if not mark or mark.strip(self._fence[0]) or len(mark) < len(self._fence):
            return False
        self._fence = self._opening = ""
        self._after_blank = False
        return not self._in_list

    def _read(self, line: str) -> bool:
        """Take a complete line outside fences; True when it is a block by itself."""
        if not line.strip():
            self._after_blank = True
            return False
        margin = _at_margin(line)
        if match := _FENCE.match(line.lstrip(" ") if self._in_list else line):
            self._in_list = self._in_list and not margin
            self._fence = match[1]
            self._opening = "" if self._offset or self._in_list else line
            return False
        if margin:
            self._in_list = bool(_ITEM.match(line)) or (self._in_list and not self._after_blank)
        self._after_blank = False
        return bool(_HEADING.match(line)) and not self._in_list


def _at_margin(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("  ", "\t"))


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
