"""Markdown whose lists are drawn as one widget each.

Textual makes four widgets and more of every list item. An answer with a hundred items then costs the event loop, which
the server shares, a fifth of a second at every layout. Lists of plain paragraphs, nested ones too, need none of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Markdown
from textual.widgets._markdown import (
    MarkdownBlock,
    MarkdownBulletList,
    MarkdownList,
    MarkdownListItem,
    MarkdownOrderedList,
    MarkdownOrderedListItem,
    MarkdownParagraph,
    MarkdownTable,
    MarkdownTableContent,
)

from tui.screens.chat.markdown_parser import build_reader

ASCII_BULLETS = ["* ", "- ", "+ ", "o ", "- "]


class ListParagraph(NamedTuple):
    """A paragraph of a list."""

    indent: int
    bullet: str
    """Blank for what goes on below an item's first paragraph."""
    text: Content


# Style sheets follow a widget's first base that is a widget, so at run time this mixin must be none.
if TYPE_CHECKING:
    from textual.widgets._markdown import MarkdownList as _Base
else:
    _Base = object


class _Flat(_Base):
    """Draws itself where its items are plain, else as Textual does."""

    entries: list[ListParagraph] | None = None
    _wrapped: tuple[int, list[Content]] = (0, [])
    """A width, and the lines for it."""

    def compose(self) -> ComposeResult:
        self.entries = flatten_list(self, 0)
        if self.entries is None:
            yield from super().compose()

    def lines(self, width: int) -> list[Content]:
        """The list wrapped to `width`, what is wrapped hanging under its text."""
        if self._wrapped[0] == width:
            return self._wrapped[1]
        out: list[Content] = []
        for indent, bullet, text in self.entries or ():
            hang = indent + len(bullet)
            for index, line in enumerate(text.wrap(max(8, width - hang)) or [Content("")]):
                head = f"{' ' * indent}{bullet}" if index == 0 else " " * hang
                out.append(Content.assemble((head, "$quiet"), line))
        self._wrapped = (width, out)
        return out

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if self.entries is None:
            return super().get_content_height(container, viewport, width)
        return len(self.lines(width))

    def render(self) -> Content:
        return Content("\n").join(self.lines(self.size.width)) if self.entries else Content("")


class _Bullets(_Flat, MarkdownBulletList):
    pass


class _Numbers(_Flat, MarkdownOrderedList):
    pass


class _Cells(MarkdownTableContent):
    def compose(self) -> ComposeResult:
        for cell in super().compose():
            if isinstance(cell.tooltip, str):
                # As a string it would be read as markup.
                cell.tooltip = Content(cell.tooltip)
            yield cell


class _Table(MarkdownTable):
    def compose(self) -> ComposeResult:
        for content in super().compose():
            yield _Cells(content.headers, content.rows) if isinstance(content, MarkdownTableContent) else content


class Prose(Markdown):
    """Markdown as answers need it: cheap lists, links that open nothing by themselves."""

    BLOCKS = {
        **Markdown.BLOCKS,
        "bullet_list_open": _Bullets,
        "ordered_list_open": _Numbers,
        "table_open": _Table,
    }

    def __init__(self, *, ascii_only: bool = False, goes_on: bool = False) -> None:
        """`goes_on`: the text begins in the middle of code whose beginning was drawn before."""
        super().__init__(parser_factory=lambda: build_reader(goes_on=goes_on), open_links=False)
        if ascii_only:
            self.BULLETS = ASCII_BULLETS


def flatten_list(block: MarkdownBlock, indent: int) -> list[ListParagraph] | None:
    """A list's paragraphs in order; None when it holds anything but paragraphs and lists of such."""
    out: list[ListParagraph] = []
    for item in _children(block):
        if not isinstance(item, MarkdownListItem):
            return None
        bullet = f"{item.bullet}. " if isinstance(item, MarkdownOrderedListItem) else item.bullet
        below = _item(item, indent, bullet)
        if below is None:
            return None
        out += below
    return out


def _item(item: MarkdownListItem, indent: int, bullet: str) -> list[ListParagraph] | None:
    out: list[ListParagraph] = []
    for child in _children(item):
        if isinstance(child, MarkdownParagraph) and isinstance(child.content, Content):
            out.append(ListParagraph(indent, bullet if not out else " " * len(bullet), child.content))
            continue
        nested = flatten_list(child, indent + len(bullet)) if isinstance(child, MarkdownList) else None
        if nested is None:
            return None
        out += nested if out else [ListParagraph(indent, bullet, Content("")), *nested]
    return out or [ListParagraph(indent, bullet, Content(""))]


def _children(block: MarkdownBlock) -> list[MarkdownBlock]:
    # Textual offers no other way to what it has parsed.
    return block._blocks  # noqa: SLF001
