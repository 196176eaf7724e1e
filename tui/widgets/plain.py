"""Words on the screen as they are: never read as markup; what a terminal would obey or a reader not see, escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rich.segment import Segment
from textual.color import Color
from textual.content import Content, Span
from textual.filter import LineFilter
from textual.visual import VisualType
from textual.widget import Widget
from textual.widgets import Static

from core.foreign_text import drop_hidden, make_printable

if TYPE_CHECKING:
    from textual.css.styles import RulesMap


def make_drawable(words: str | Content, *, lines: bool = True) -> Content:
    """`words` as they may be drawn, with the styles they have. Without `lines` they are a name, and stay on one."""
    if isinstance(words, str):
        return Content(make_printable(words, lines=lines))
    if make_printable(words.plain, lines=lines) == words.plain:
        return words
    # A style goes on to the end of the escape that stands for its last character.
    edges = sorted({edge for span in words.spans for edge in (span.start, span.end)})
    out = []
    for piece in words.divide(edges) if edges else [words]:
        text = make_printable(piece.plain, lines=lines)
        out.append(Content(text, [Span(0, len(text), span.style) for span in piece.spans]))
    return Content("").join(out)


class Plain(Static):
    """Static without markup."""

    def __init__(
        self,
        words: str | Content = "",
        *,
        id: str | None = None,  # noqa: A002 - as Textual calls it
        classes: str | None = None,
    ) -> None:
        super().__init__(make_drawable(words), markup=False, id=id, classes=classes)

    def update(self, content: VisualType = "", *, layout: bool = True) -> None:
        """Draw other words; what else can be drawn is drawn. Nothing is done where they are the same, and the screen is
        laid out anew only where they take another height: most are told twice a second."""
        words = make_drawable(content) if isinstance(content, str | Content) else content
        before = self.content
        if isinstance(words, Content) and isinstance(before, Content):
            if words.is_same(before):
                return
            layout = layout and not self._takes_as_much(words)
        super().update(words, layout=layout)

    def _takes_as_much(self, words: Content) -> bool:
        """Whether the widget has the size already that it would get."""
        width, height = self.content_size
        if not width or self.styles.is_auto_width:
            return False
        # Widgets hand their styles on as rules, too.
        return not self.styles.is_auto_height or words.get_height(cast("RulesMap", self.styles), width) == height


def set_subtitle(widget: Widget, words: str) -> None:
    """On the lower border of a panel, which is drawn again only where it was another one."""
    if (widget.border_subtitle or "") != make_drawable(words, lines=False).markup:
        widget.border_subtitle = make_drawable(words, lines=False)


class Unobeyed(LineFilter):
    """Looks at every line that is drawn, whoever made it, fields for typing too. Where the words were not escaped
    before their width was measured there is no room for more signs: what would be obeyed has no width, and goes."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        if all(text.isprintable() for text, _, _ in segments):
            return segments
        return [
            segment if segment.control else Segment(drop_hidden(segment.text), segment.style) for segment in segments
        ]
