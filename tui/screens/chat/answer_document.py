"""The text of one answer as lines, apart from the widget that shows them: what is closed is laid out once.

A text that is there already is laid out from its end, as far as somebody looks: `reach_back` brings more of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from textual.content import Content

from core.foreign_text import make_printable
from tui.glyphs import ASCII
from tui.screens.chat.code_lines import CodeColours
from tui.screens.chat.drawn_line import CODE_GROUND, CodeSource, DrawnLine, Look, draw_label, fold_code, wrap_words
from tui.screens.chat.markdown_blocks import Cutter, Piece, PieceKind, split_fence
from tui.screens.chat.markdown_rows import TextRow, build_rows

FROZEN_CHARACTERS: Final = 1000
"""Of an open paragraph, after which lines of it that are full are not wrapped again."""
CODE_LINES: Final = 100
"""Of long code, that are laid out at once when it is there already."""
_GAP: Final = DrawnLine(Content(""))


class _Part(Protocol):
    """A closed piece, or code that is open."""

    def draw(self, look: Look) -> list[DrawnLine]: ...


class _Words:
    """A closed piece of Markdown."""

    def __init__(self, text: str, joined: bool) -> None:
        self._text = text
        self._gap = not joined or text.endswith("\n\n")
        self._rows: tuple[bool, list[TextRow]] | None = None

    def draw(self, look: Look) -> list[DrawnLine]:
        ascii_only = look.glyphs is ASCII
        if self._rows is None or self._rows[0] != ascii_only:
            self._rows = ascii_only, build_rows(self._text, ascii_only=ascii_only)
        lines = [line for row in self._rows[1] for line in row.draw(look)]
        return [*lines, _GAP] if self._gap and lines else lines


class _Code:
    """Some lines of the code in a fence. Their colours are found when they are drawn, and never twice."""

    def __init__(self, opening: str, source: CodeSource | None = None, colours: CodeColours | None = None) -> None:
        """`source`: where the lines before these are, of the same code; `colours`: what has coloured them."""
        self._opening = opening
        self._indent, said = split_fence(opening.rstrip("\n"))
        self._label = make_printable(said) if source is None else None
        self._colours = colours or CodeColours(said.split()[0] if said.split() else "")
        self._coloured: list[Content] = []
        self._lines: list[str] = []
        self.source = source or CodeSource()
        self.ended = False
        """No more lines come, here or behind."""

    @property
    def room(self) -> int:
        """Lines that there is still a place for."""
        return CODE_LINES - len(self._lines)

    def take(self, lines: Sequence[str]) -> int:
        """More lines; how many there were before."""
        before = len(self._lines)
        for line in lines:
            blanks = min(self._indent, len(line) - len(line.lstrip(" ")))
            self._lines.append(line[blanks:])
        self.source.lines += self._lines[before:]
        return before

    def go_on(self) -> _Code:
        """A place for the lines behind these."""
        return _Code(self._opening, self.source, self._colours if len(self._coloured) == len(self._lines) else None)

    def draw(self, look: Look) -> list[DrawnLine]:
        label = [draw_label(self._label, look.width, self.source)] if self._label is not None else []
        return [*label, *self.draw_from(0, look)]

    def draw_from(self, first: int, look: Look) -> list[DrawnLine]:
        """The lines behind the first so many, and the gap behind the code."""
        for line in self._lines[len(self._coloured) :]:
            self._coloured.append(self._colours.colour(line))
        out = [each for line in self._coloured[first:] for each in fold_code(line, look, look.width)]
        return [*out, _GAP] if self.ended else out


class AnswerDocument:
    """Takes the text as it comes; `lines` and the tail's lines are what is seen."""

    def __init__(self) -> None:
        self._cutter = Cutter()
        self._parts: list[_Part] = []
        self._code: _Code | None = None
        """The fence that is open."""
        self._first = 0
        """The first part that is laid out."""
        self._look: Look | None = None
        self._tail = _TailLines()
        self.lines: list[DrawnLine] = []
        """Of all parts from the first one that is laid out."""
        self.tail_lines: list[DrawnLine] = []

    @property
    def height(self) -> int:
        return len(self.lines) + len(self.tail_lines)

    @property
    def has_more_above(self) -> bool:
        """Whether the beginning is not laid out."""
        return self._first > 0

    def get_line(self, at: int) -> DrawnLine | None:
        if at < len(self.lines):
            return self.lines[at]
        at -= len(self.lines)
        return self.tail_lines[at] if at < len(self.tail_lines) else None

    def load(self, text: str) -> None:
        """A text that is there as a whole. Nothing of it is laid out here, whatever was before."""
        self._look = None
        self.take(text, ended=True)
        self._first = len(self._parts)

    def take(self, text: str, *, ended: bool = False) -> None:
        """More of the text, printable."""
        for piece in self._cutter.take(text, ended=ended):
            self._add(piece)
        if ended and self._code is not None:
            self._end_code()
        self._draw_tail()

    def _add(self, piece: Piece) -> None:
        match piece.kind:
            case PieceKind.CODE_BEGUN:
                self._code = _Code(piece.text)
                self._append(self._code)
            case PieceKind.CODE if self._code is not None:
                self._add_code(self._code, piece.text.removesuffix("\n").split("\n"))
            case PieceKind.CODE_ENDED:
                self._end_code()
            case _:
                if piece.text.strip():
                    self._append(_Words(piece.text, piece.joined))

    def _add_code(self, code: _Code, lines: Sequence[str]) -> None:
        while lines:
            if not code.room:
                self._code = code = code.go_on()
                self._append(code)
            room = code.room
            first = code.take(lines[:room])
            lines = lines[room:]
            if self._look is not None:
                self.lines += code.draw_from(first, self._look)

    def _end_code(self) -> None:
        if self._code is not None:
            self._code.ended = True
            if self._look is not None:
                self.lines.append(_GAP)
        self._code = None

    def _append(self, part: _Part) -> None:
        self._parts.append(part)
        if self._look is not None:
            self.lines += part.draw(self._look)

    def _draw_tail(self) -> None:
        if self._look is None:
            return
        tail = self._cutter.tail
        if self._code is not None:
            shown = tail and not self._cutter.may_close
            self.tail_lines = fold_code(Content(tail.expandtabs()), self._look, self._look.width) if shown else []
        elif tail.strip():
            self.tail_lines = self._tail.wrap(tail.strip("\n"), self._look.width)
        else:
            self.tail_lines = []

    def lay_out(self, look: Look, lines: int) -> bool:
        """Draw for this look, where it is another one: the end of the text, at least so many lines of it. Whether
        anything was drawn."""
        if look == self._look:
            return False
        shown = lines if self._look is None else max(lines, len(self.lines))
        self._look = look
        self.lines = []
        self._first = len(self._parts)
        self._tail = _TailLines()
        self._reach(shown)
        self._draw_tail()
        return True

    def reach_back(self, lines: int) -> int:
        """Lay out some more of what stands above; how many lines came of it."""
        before = len(self.lines)
        if self._look is not None:
            self._reach(before + lines)
        return len(self.lines) - before

    def _reach(self, lines: int) -> None:
        assert self._look is not None
        drawn: list[list[DrawnLine]] = []
        height = len(self.lines)
        while self._first and height < lines:
            self._first -= 1
            drawn.append(self._parts[self._first].draw(self._look))
            height += len(drawn[-1])
        if drawn:
            self.lines = [line for part in reversed(drawn) for line in part] + self.lines

    def list_code(self) -> list[CodeSource]:
        """All code in fences, and what else is laid out, in order."""
        shown = [line.copies for line in self.lines if line.copies is not None]
        above = dict.fromkeys(part.source for part in self._parts if isinstance(part, _Code))
        return [*(source for source in above if source not in shown), *shown]

    def extract(self, start: tuple[int, int] | None, end: tuple[int, int] | None) -> str:
        """The text between two places, each a line and a character of it: what was wrapped is one line again."""
        first, begin = start or (0, 0)
        last, stop = end or (self.height - 1, -1)
        out: list[str] = []
        for at in range(first, min(last, self.height - 1) + 1):
            line = self.get_line(at)
            if line is None or line.copies is not None:
                continue
            plain = line.content.plain[: None if at != last or stop < 0 else stop]
            skipped = begin if at == first else 0
            before = self.get_line(at - 1) if at else None
            if before is not None and before.goes_on and at != first:
                space = "" if line.ground == CODE_GROUND else " "
                out.append(space + plain[max(skipped, line.lead) :])
            else:
                out.append(("\n" if out else "") + plain[max(skipped, line.lead if line.ground else 0) :])
        return "".join(out)


class _TailLines:
    """Wraps a paragraph that grows: lines that are full stay."""

    def __init__(self) -> None:
        self._lines: list[DrawnLine] = []
        self._wrapped = ""
        """The text up to the last line that may change."""

    def wrap(self, text: str, width: int) -> list[DrawnLine]:
        if not text.startswith(self._wrapped):
            self._lines, self._wrapped = [], ""
        fresh = wrap_words(Content(text[len(self._wrapped) :]), width)
        lines = [*self._lines, *fresh]
        last = fresh[-1].content.plain
        if len(text) > FROZEN_CHARACTERS and len(fresh) > 1 and last and text.endswith(last):
            self._lines = lines[:-1]
            self._wrapped = text[: -len(last)]
        return lines
