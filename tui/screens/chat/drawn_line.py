"""Lines of an answer as they are drawn, and what decides on their look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from textual.content import Content

from tui.format import clip_text
from tui.glyphs import Glyphs

CODE_GROUND: Final = "on $bar"
COPY: Final = "copy"
LEAST_WRAPPED_CELLS: Final = 8
"""Cells in which text is wrapped at least, however far it is indented."""


class CodeSource:
    """The lines of one piece of code as they were written, also while more are to come."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.lines = [*lines]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


class Look(NamedTuple):
    """What the drawing of all blocks depends on."""

    width: int
    glyphs: Glyphs
    wrap_code: bool = True
    """Whether long lines of code go on below; else they are cut."""


class DrawnLine(NamedTuple):
    """One line of the screen."""

    content: Content
    ground: str = ""
    """The style of the whole line, as far as it has a ground of its own."""
    goes_on: bool = False
    """It was wrapped: the next line is the same one in the text."""
    lead: int = 0
    """Characters before the text: blanks of indentation, or a bullet's second line."""
    copies: CodeSource | None = None
    """What a click on the end of the line copies."""


def wrap_words(content: Content, width: int) -> list[DrawnLine]:
    """Text of one or several lines in at most `width` cells; an empty one is one line."""
    lines = content.split("\n", allow_blank=True) if "\n" in content.plain else [content]
    out: list[DrawnLine] = []
    for line in lines:
        wrapped = line.wrap(width) if line.cell_length > width else [line]
        out += [DrawnLine(each, goes_on=True) for each in wrapped[:-1]]
        out.append(DrawnLine(wrapped[-1]))
    return out


def fold_code(line: Content, look: Look, width: int) -> list[DrawnLine]:
    """A line of code on its ground, one cell in from the left."""
    room = max(LEAST_WRAPPED_CELLS, width - 2)
    if line.cell_length <= room:
        folded = [line]
    elif look.wrap_code:
        folded = line.fold(room)
    else:
        folded = [line.truncate(room - 1).append(Content(look.glyphs.cut))]
    return [
        DrawnLine(Content(" ").append(each), CODE_GROUND, goes_on=at < len(folded), lead=1)
        for at, each in enumerate(folded, 1)
    ]


def draw_label(label: str, width: int, source: CodeSource) -> DrawnLine:
    """The line above code: what its fence says of it, and a word that copies it."""
    said = Content.styled(f" {clip_text(label, width - len(COPY) - 3)}", "$quiet") if label else Content("")
    room = max(0, width - said.cell_length - len(COPY) - 1)
    return DrawnLine(
        said.append(Content(" " * room)).append(Content.styled(COPY, "$quiet")), CODE_GROUND, copies=source
    )
