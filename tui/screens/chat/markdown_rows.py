"""Markdown as rows that wrap to any width: what a closed piece of an answer is drawn from.

Widgets for each block would cost the event loop, which the server shares, at every layout of the screen; rows cost
nothing but their wrapping, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple, Protocol

from markdown_it import MarkdownIt
from markdown_it.token import Token
from textual.content import Content, Span

from core.foreign_text import make_printable
from tui.screens.chat.code_lines import CodeColours
from tui.screens.chat.drawn_line import (
    LEAST_WRAPPED_CELLS,
    CodeSource,
    DrawnLine,
    Look,
    draw_label,
    fold_code,
    wrap_words,
)
from tui.screens.chat.markdown_blocks import fence_tables
from tui.screens.chat.markdown_parser import build_reader
from tui.screens.chat.markdown_table import TableBody

BULLETS: Final = ("•", "▪", "‣", "◦")
ASCII_BULLETS: Final = ("*", "-", "+", "o")
_HEADINGS: Final = ("bold underline $primary", "bold $primary", "bold $secondary")
"""Of the first levels; deeper ones are as the last."""
_SPANS: Final = {"em": "italic", "strong": "bold", "s": "strike", "link": "underline $secondary"}
_CODE: Final = "$text-warning on $bar"


class RowBody(Protocol):
    """What stands in a row, behind bullets and bars."""

    def draw(self, look: Look, width: int) -> list[DrawnLine]: ...


class WordsBody(NamedTuple):
    words: Content

    def draw(self, _: Look, width: int) -> list[DrawnLine]:
        return wrap_words(self.words, width)


class CodeBody(NamedTuple):
    label: str | None
    """What the fence says; None where there is no fence."""
    lines: Sequence[Content]
    source: CodeSource

    def draw(self, look: Look, width: int) -> list[DrawnLine]:
        out = [draw_label(self.label, width, self.source)] if self.label is not None else []
        for line in self.lines:
            out += fold_code(line, look, width)
        return out


class RuleBody(NamedTuple):
    def draw(self, look: Look, width: int) -> list[DrawnLine]:
        return [DrawnLine(Content.styled(look.glyphs.floor * width, "$edge"))]


class GapBody(NamedTuple):
    def draw(self, _: Look, __: int) -> list[DrawnLine]:
        return [DrawnLine(Content(""))]


class TextRow(NamedTuple):
    """A block with what stands before its first line, and before all others."""

    first: Content
    rest: Content
    body: RowBody

    def draw(self, look: Look) -> list[DrawnLine]:
        lead = len(self.rest.plain)
        if not lead:
            return self.body.draw(look, look.width)
        lines = self.body.draw(look, max(LEAST_WRAPPED_CELLS, look.width - self.rest.cell_length))
        return [
            line._replace(content=(self.rest if at else self.first).append(line.content), lead=lead + line.lead)
            for at, line in enumerate(lines)
        ]


def build_rows(text: str, *, ascii_only: bool = False) -> list[TextRow]:
    """A closed piece of Markdown; no gap at its end."""
    builder = _Builder(ascii_only)
    for token in _reader().parse(fence_tables(text)):
        builder.take(token)
    return builder.finish()


@cache
def _reader() -> MarkdownIt:
    return build_reader()


class _Lead:
    """What a list item or a quote puts before its lines."""

    def __init__(self, first: Content, rest: Content) -> None:
        self.first = first
        self.rest = rest
        self.used = False


class _Builder:
    """Follows the tokens of a parser, which open and close one another."""

    def __init__(self, ascii_only: bool) -> None:
        self._ascii = ascii_only
        self._rows: list[TextRow] = []
        self._leads: list[_Lead] = []
        self._depth = 0
        """Of lists."""
        self._tight = False
        """The paragraph is an item's of a list without blank lines."""
        self._heading = ""
        self._table: TableBody | None = None

    def take(self, token: Token) -> None:
        """Tokens that say nothing of their own, such as the body of a table, are passed over."""
        if (handle := _HANDLERS.get(token.type)) is not None:
            handle(self, token)

    def begin_paragraph(self, token: Token) -> None:
        self._tight = token.hidden

    def begin_heading(self, token: Token) -> None:
        self._heading = _HEADINGS[min(len(_HEADINGS), int(token.tag[1:])) - 1]

    def end_words(self, _: Token) -> None:
        self._heading = ""
        if not self._tight:
            self._gap()
        self._tight = False

    def begin_list(self, _: Token) -> None:
        self._depth += 1

    def end_list(self, _: Token) -> None:
        self._depth -= 1
        if not self._depth:
            self._gap()

    def begin_item(self, token: Token) -> None:
        bullet = f"{token.info}{token.markup} " if token.info else f"{self._bullet()} "
        self._leads.append(_Lead(Content.styled(bullet, "$quiet"), Content(" " * len(bullet))))

    def begin_quote(self, _: Token) -> None:
        bar = Content.styled("| " if self._ascii else "▌ ", "$edge")
        self._leads.append(_Lead(bar, bar))

    def end_item(self, _: Token) -> None:
        if not self._leads[-1].used:
            self._add(WordsBody(Content("")))
        self._leads.pop()

    def end_quote(self, token: Token) -> None:
        self.end_item(token)
        self._gap()

    def take_rule(self, _: Token) -> None:
        self._add(RuleBody())
        self._gap()

    def take_code(self, token: Token) -> None:
        self._add(_build_code(token))
        self._gap()

    def begin_table(self, _: Token) -> None:
        self._table = TableBody([], [])

    def begin_table_row(self, _: Token) -> None:
        if self._table is not None:
            self._table.rows.append([])

    def begin_head_cell(self, token: Token) -> None:
        if self._table is not None:
            self._table.sides.append(str(token.attrGet("style") or "").removeprefix("text-align:") or "left")

    def end_table(self, _: Token) -> None:
        if self._table is not None:
            self._add(self._table)
        self._table = None
        self._gap()

    def take_inline(self, token: Token) -> None:
        words = read_inline(token.children or ())
        if self._table is None:
            self._add(WordsBody(words.stylize_before(self._heading) if self._heading else words))
        else:
            self._table.rows[-1].append(words)

    def _bullet(self) -> str:
        marks = ASCII_BULLETS if self._ascii else BULLETS
        return marks[(self._depth - 1) % len(marks)]

    def _add(self, body: RowBody) -> None:
        first = Content("").join([lead.rest if lead.used else lead.first for lead in self._leads])
        for lead in self._leads:
            lead.used = True
        self._rows.append(TextRow(first, Content("").join([lead.rest for lead in self._leads]), body))

    def _gap(self) -> None:
        """One blank line, however many blocks end here: that of the outermost of them."""
        if self._rows:
            if isinstance(self._rows[-1].body, GapBody):
                self._rows.pop()
            rest = Content("").join([lead.rest for lead in self._leads])
            self._rows.append(TextRow(rest, rest, GapBody()))

    def finish(self) -> list[TextRow]:
        if self._rows and isinstance(self._rows[-1].body, GapBody):
            self._rows.pop()
        return self._rows


_HANDLERS: Final[Mapping[str, Callable[[_Builder, Token], None]]] = {
    "paragraph_open": _Builder.begin_paragraph,
    "paragraph_close": _Builder.end_words,
    "heading_open": _Builder.begin_heading,
    "heading_close": _Builder.end_words,
    "inline": _Builder.take_inline,
    "bullet_list_open": _Builder.begin_list,
    "bullet_list_close": _Builder.end_list,
    "ordered_list_open": _Builder.begin_list,
    "ordered_list_close": _Builder.end_list,
    "list_item_open": _Builder.begin_item,
    "list_item_close": _Builder.end_item,
    "blockquote_open": _Builder.begin_quote,
    "blockquote_close": _Builder.end_quote,
    "hr": _Builder.take_rule,
    "fence": _Builder.take_code,
    "code_block": _Builder.take_code,
    "table_open": _Builder.begin_table,
    "table_close": _Builder.end_table,
    "tr_open": _Builder.begin_table_row,
    "th_open": _Builder.begin_head_cell,
}


def read_inline(children: Sequence[Token]) -> Content:
    """Words with their styles; what could drive a terminal is an escape that is seen."""
    parts: list[str] = []
    spans: list[Span] = []
    begun: dict[str, list[int]] = {}
    length = 0
    for token in children:
        kind, _, edge = token.type.rpartition("_")
        if edge == "open" and kind in _SPANS:
            begun.setdefault(kind, []).append(length)
            continue
        if edge == "close" and kind in _SPANS:
            spans.append(Span(begun[kind].pop(), length, _SPANS[kind]))
            continue
        if token.type == "hardbreak":
            text = "\n"
        elif token.type == "softbreak":
            text = " "
        else:
            text = make_printable(token.content, lines=True)
        if token.type == "code_inline":
            spans.append(Span(length, length + len(text), _CODE))
        parts.append(text)
        length += len(text)
    # A style that holds others stands before them, so that theirs are seen.
    return Content("".join(parts), sorted(spans, key=lambda span: (span.start, -span.end)))


def _build_code(token: Token) -> CodeBody:
    lines = token.content.removesuffix("\n").split("\n")
    colours = CodeColours(token.info.split()[0] if token.info.split() else "")
    label = token.info.strip() if token.type == "fence" else None
    return CodeBody(label, [colours.colour(line) for line in lines], CodeSource(lines))
