"""A console of Rich for what the command line prints: tables, progress and sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, HighlighterType, JustifyMethod, OverflowMethod, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from core.foreign_text import make_printable


class Paper(Console):
    """A console that takes words as they are: no markup, no emoji by name, no colours of its own guessing, and what a
    terminal would obey is seen instead."""

    def __init__(self, file: TextIO | None = None, *, stderr: bool = False, width: int | None = None) -> None:
        """On stdout where nothing else is said; as wide as the terminal, unless `width` gives columns."""
        super().__init__(file=file, stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def tell(self, sentence: str, style: str = "", *, wrap: bool = False) -> None:
        """A sentence. Unless `wrap` says so it is left to the terminal, so that a command in it can be copied."""
        self.print(Text(make_printable(sentence, lines=True), style), soft_wrap=not wrap)

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: HighlighterType | None = None,
    ) -> Text:
        """Every plain string comes through here, those in tables too, before it is measured."""
        return super().render_str(
            make_printable(text, lines=True),
            style=style,
            justify=justify,
            overflow=overflow,
            emoji=False,
            markup=False,
            highlight=False,
            highlighter=highlighter,
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Text that others put together is looked at here."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            if control is None and (seen := make_printable(text, lines=True)) != text:
                yield Segment(seen, style)
            else:
                yield segment
