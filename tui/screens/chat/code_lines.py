"""Code in colours, line by line: what stands is not read again when more comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pygments.lexer import ExtendedRegexLexer, Lexer, LexerContext, RegexLexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, String, _TokenType
from pygments.util import ClassNotFound
from textual.content import Content, Span
from textual.highlight import HighlightTheme

from core.telemetry import log

LOG: Final = log.get_logger(__name__)
MOST_COLOURED_CHARACTERS: Final = 1000
"""Of a line: lexers take their time over longer ones, which are data as a rule."""
TAB_CELLS: Final = 4


class CodeColours:
    """Colours the lines of one piece of code, in order."""

    def __init__(self, language: str) -> None:
        """`language`: as fences name it; what is unknown has no colours."""
        self._lexer = _find_lexer(language)
        self._states: list[str] = ["root"]
        """What the lexer is within, a string of many lines for instance."""
        self._open = ""
        """The first line of a comment that has no end yet."""
        self._styles: dict[_TokenType, str] = {}

    def colour(self, line: str) -> Content:
        """The next line, without its newline."""
        line = line.expandtabs(TAB_CELLS)
        if self._lexer is None or len(line) > MOST_COLOURED_CHARACTERS:
            return Content(line)
        try:
            return Content(line, [*self._spans(self._lexer, line)])
        except Exception as error:  # noqa: BLE001 - one of hundreds of lexers, whatever the code made it do
            LOG.error("a lexer failed; the code goes on without colours", cause=error, lexer=self._lexer.name)
            self._lexer = None
            return Content(line)

    def _spans(self, lexer: Lexer, line: str) -> Iterator[Span]:
        text = f"{self._open}{line}\n"
        skipped = len(self._open)
        for start, kind, token in (
            self._read(lexer, text) if isinstance(lexer, RegexLexer) else lexer.get_tokens_unprocessed(text)
        ):
            begin, end = max(0, start - skipped), min(len(line), start + len(token) - skipped)
            if begin < end and (style := self._find_style(kind)):
                yield Span(begin, end, style)

    def _read(self, lexer: RegexLexer, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """As the one lexer of pygments does that tells what it is within; it works on the tables of all of them."""
        context = LexerContext(text, 0, [*self._states])
        last, before = "", self._states
        for start, kind, token in ExtendedRegexLexer.get_tokens_unprocessed(lexer, context=context):
            last, before = token if kind in Comment.Multiline or kind in String else "", [*context.stack]
            yield start, kind, token
        if len(last) > 1 and last.endswith("\n"):
            # Some lexers find the end of a comment in the same look as its beginning; what stands between is no matter.
            self._open, self._states = last[: last.index("\n") + 1], before
        else:
            self._open, self._states = "", context.stack

    def _find_style(self, kind: _TokenType) -> str:
        known = self._styles.get(kind)
        if known is None:
            known = next((style for each in reversed(kind.split()) if (style := HighlightTheme.STYLES.get(each))), "")
            self._styles[kind] = known
        return known


def _find_lexer(language: str) -> Lexer | None:
    if not language:
        return None
    try:
        return get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return None
