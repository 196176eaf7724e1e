"""One answer, drawn while it is written: closed Markdown once, the open tail as plain text a few times a second."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import MountError
from textual.widgets import Static

from core.conversations.tree import Outcome
from core.foreign_text import make_printable
from tui import glyphs
from tui.screens.chat import markdown_blocks as blocks
from tui.screens.chat.conversation import Exchange, summarize_exchange
from tui.widgets.plain import Plain

_HALF = re.compile("(?:\r|[0-9#*]\ufe0f|\U0001f3f4[\U000e0020-\U000e007f]*)$")
"""What may go on: a newline of two characters, a key cap, a flag."""
THOUGHT_LINES = 3
"""Lines of a thought that are shown while it goes on."""
THOUGHT_PIECES = 200
"""Of its end, in which those lines are looked for."""
TICK_SECONDS = 1 / 10
"""Seconds between two drawings: about what the eye follows, and cheap beside decoding."""


class AnswerView(Vertical):
    """Reads the exchange it was given; nobody tells it about single tokens."""

    def __init__(self, exchange: Exchange, away: Callable[[], bool]) -> None:
        """While `away` says that the reader looks elsewhere, nothing is drawn."""
        super().__init__(classes="answer")
        self.exchange = exchange
        self._away = away
        self._taken = 0
        """How many of the exchange's pieces are in the tail or drawn already."""
        self._tail = ""
        self._goes_on = False
        """The last piece that was committed ended in the middle of a list or of code."""
        self._half = ""
        self._note = ""
        self._thought_drawn = 0, 0, False
        """Pieces of the thought and calls that are drawn, and whether the thought is over."""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Plain(self.exchange.model, classes="who")
        yield Plain(classes="thought")
        yield Plain(classes="tail")
        yield Plain(classes="calls")
        yield Plain(classes="stats")

    async def on_mount(self) -> None:
        self._timer = self.set_interval(TICK_SECONDS, self._draw)
        await self._draw()

    def note(self, text: str) -> None:
        """What is being waited for, shown until the first text comes."""
        self._note = text
        self.query_one(".stats", Static).update(text)

    async def _draw(self) -> None:
        """Take what is new; on the end, render all that is left. The only place that changes the widget's text."""
        ended = self.exchange.outcome is not Outcome.WRITING
        if not ended and self._away():
            return
        self._show_thought(ended)
        pieces = self.exchange.pieces
        if len(pieces) > self._taken:
            self._take("".join(pieces[self._taken :]), ended)
            self._taken = len(pieces)
            await self._show_tail(ended)
        elif ended:
            self._take("", ended)
            await self._show_tail(ended)
        if ended:
            self._finish()

    def _show_thought(self, ended: bool) -> None:
        """The end of the thought while it goes on, then one line about it; and a line for each call."""
        thoughts, calls = self.exchange.thoughts, self.exchange.calls
        over = ended or bool(self.exchange.pieces or calls)
        if (len(thoughts), len(calls), over) == self._thought_drawn:
            return
        self._thought_drawn = len(thoughts), len(calls), over
        if self._note and (thoughts or calls):
            self.note("")
        if over and thoughts:
            words = len(self.exchange.thought.split())
            shown = f"thought for {words} {'word' if words == 1 else 'words'}"
        else:
            shown = "\n".join("".join(thoughts[-THOUGHT_PIECES:]).strip().splitlines()[-THOUGHT_LINES:])
        for place, text in (
            (".thought", shown),
            (".calls", "\n".join(f"{each.name} {each.arguments}" for each in calls)),
        ):
            line = self.query_one(place, Static)
            line.display = bool(text)
            line.update(text)

    def _take(self, text: str, ended: bool) -> None:
        """Put new text behind the tail, but for the half of a sign whose other half is still to come."""
        text = self._half + text
        cut = len(text) if ended or (half := _HALF.search(text)) is None else half.start()
        self._half = text[cut:]
        self._tail = make_printable(self._tail + text[:cut], lines=True)

    async def _show_tail(self, ended: bool) -> None:
        tail = self.query_one(".tail", Static)
        while (piece := blocks.cut_closed(self._tail)) is not None:
            await self._commit(piece.text, joined=piece.joined)
            self._goes_on = piece.joined
            self._tail = piece.rest
        if ended and self._tail.strip():
            await self._commit(self._tail, joined=False)
            self._tail = ""
        _update(tail, self._tail.strip("\n"))
        if self._note and (self._tail or ended):
            self.note("")

    async def _commit(self, text: str, *, joined: bool) -> None:
        """Render a closed piece above the tail."""
        if not text.strip():
            return
        # Imported with the first answer: the first frame needs no Markdown parser.
        from tui.screens.chat.markdown_view import Prose

        markdown = Prose(ascii_only=glyphs.find_glyphs(self) is glyphs.ASCII, goes_on=self._goes_on)
        markdown.set_class(joined, "-joined")
        # A screen that is being taken down takes no widgets any more.
        with self.app.batch_update(), contextlib.suppress(MountError):
            await self.mount(markdown, before=self.query_one(".tail", Static))
            await markdown.update(blocks.fence_tables(text))
            self.query_one(".tail", Static).update("")

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self.query_one(".tail", Static).display = False
        self.query_one(".who", Static).update(self.exchange.model)
        line = summarize_exchange(self.exchange, glyphs.find_glyphs(self).dot)
        failed = self.exchange.outcome is Outcome.FAILED
        self.set_class(failed, "-failed")
        self.query_one(".stats", Static).update(Content.styled(line, "$error" if failed else ""))


def _update(tail: Static, text: str) -> None:
    """Lay the screen out anew only where the tail has become taller: most words just fill a line."""
    content = Content(text)
    tail.update(content, layout=False)
    if not tail.size.width or content.get_height({}, tail.size.width) != tail.size.height:
        tail.refresh(layout=True)
