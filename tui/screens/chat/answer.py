"""One answer, drawn while it is written: its thought, its text, the tools it asks for, and numbers that live."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from core.conversations.tree import AnswerWriter, Outcome
from core.foreign_text import make_printable
from core.snapshots import ModelSnapshot, RequestRow
from tui import glyphs
from tui.screens.chat.answer_text import AnswerText
from tui.screens.chat.calls import CallCards
from tui.screens.chat.conversation import Exchange, summarize_exchange
from tui.screens.chat.progress import draw_progress
from tui.screens.chat.written_by import format_writer
from tui.widgets.plain import Plain
from tui.widgets.settled import SettledSize

_HALF = re.compile("(?:\r|[0-9#*]\ufe0f|\U0001f3f4[\U000e0020-\U000e007f]*)$")
"""What may go on: a newline of two characters, a key cap, a flag."""
NEIGHBOUR_CHARACTERS: Final = 64
"""Before new text, that decide how its first signs are shown."""
THOUGHT_LINES = 3
"""Lines of a thought that are shown while it goes on."""
THOUGHT_PIECES = 200
"""Of its end, in which those lines are looked for."""
UNFOLDED_PIECES = 2000
"""Of its end, that are shown of one which is unfolded while it goes on."""
TICK_SECONDS = 1 / 10
"""Seconds between two drawings: about what the eye follows, and cheap beside decoding."""
BUSY_TICKS = 2
"""From one drawing to the next while all processors are busy: what is computed on them waits for what is drawn."""


class Thought(Plain):
    """What the model thought; a click folds it and unfolds it."""

    def on_click(self) -> None:
        if isinstance(self.parent, AnswerView):
            self.parent.turn_thought()


class AnswerView(SettledSize, Vertical):
    """Reads the exchange it was given; nobody tells it about single tokens."""

    BLANK = True
    """As a `Turn` is."""

    def __init__(self, exchange: Exchange, away: Callable[[], bool]) -> None:
        """While `away` says that the reader looks elsewhere, nothing is drawn."""
        super().__init__(classes="answer")
        self.exchange = exchange
        self.text = AnswerText()
        self._away = away
        self._taken = 0
        """How many of the exchange's pieces are in the text already."""
        self._neighbours = ""
        """The last characters that were taken."""
        self._half = ""
        self._note: str | Content = ""
        self._writer: AnswerWriter | None = None
        """What is shown of who writes it."""
        self._made: RequestRow | None = None
        """What was known last of the request, for an answer that is stopped."""
        self._unfolded = False
        self._codes_copied = 0
        self._thought_drawn: tuple[object, ...] = ()
        """What the thought and the calls were drawn from."""
        self._timer: Timer | None = None
        self._ticks = 0
        self._pace = 1
        """Ticks from one drawing to the next."""

    def compose(self) -> ComposeResult:
        yield Plain(classes="who")
        yield Thought(classes="thought")
        yield self.text
        yield CallCards()
        yield Plain(classes="stats")

    def on_mount(self) -> None:
        if self.exchange.outcome is Outcome.WRITING:
            self._timer = self.set_interval(TICK_SECONDS, self.tick)
            self._draw()
            return
        self._taken = len(self.exchange.pieces)
        self.text.load(make_printable(self.exchange.answer, lines=True))
        self._draw()

    @property
    def settled(self) -> bool:
        """Whether all of the answer is drawn, and no more will come."""
        return self.exchange.outcome is not Outcome.WRITING and self._timer is None

    def note(self, text: str | Content) -> None:
        """What is being waited for, or how far the answer is; the summary stands there at the end."""
        if text != self._note and self.exchange.outcome is Outcome.WRITING:
            # A line stays a line: the screen is laid out anew only where there was none.
            layout = not self._note or not text
            self._note = text
            self.query_one(".stats", Static).update(text, layout=layout)

    def show_progress(self, row: RequestRow, model: ModelSnapshot | None, *, busy: bool = False) -> None:
        """What is known of the request that this answer comes from; `busy`: no processor is left for drawing."""
        self._made = row
        self._pace = BUSY_TICKS if busy else 1
        self.note(draw_progress(row, model, glyphs.find_glyphs(self)))

    def turn_thought(self) -> bool:
        """Fold the thought, or unfold it; whether there is one."""
        self._unfolded = not self._unfolded
        self._show_thought(self.exchange.outcome is not Outcome.WRITING)
        return bool(self.exchange.thoughts)

    def next_code(self) -> str | None:
        """The last code of the answer; the next time the one above it, and so on round."""
        code = self.text.document.list_code()
        if not code:
            return None
        self._codes_copied += 1
        return code[-1 - (self._codes_copied - 1) % len(code)].text

    def tick(self) -> None:
        """Draw, unless that is left to the next one."""
        self._ticks += 1
        if self._ticks % self._pace == 0 or self.exchange.outcome is not Outcome.WRITING:
            self._draw()

    def _draw(self) -> None:
        """Take what is new; on the end, draw all that is left. The only place that changes the widget's text."""
        ended = self.exchange.outcome is not Outcome.WRITING
        if not ended and self._away():
            return
        self._show_writer()
        self._show_thought(ended)
        pieces = self.exchange.pieces
        if len(pieces) > self._taken or (ended and self._timer is not None):
            self._take("".join(pieces[self._taken :]), ended)
            self._taken = len(pieces)
        if ended:
            self._finish()

    def _show_writer(self) -> None:
        """Which model, quant and engine, once they are known."""
        writer = self.exchange.version.writer
        if writer is not self._writer:
            self._writer = writer
            self.query_one(".who", Static).update(format_writer(writer, glyphs.find_glyphs(self).dot))

    def _show_thought(self, ended: bool) -> None:
        """The end of the thought while it goes on, then one line about it; and a card for each call."""
        thoughts, calls = self.exchange.thoughts, self.exchange.calls
        over = ended or bool(self.exchange.pieces or calls)
        drawn = (len(thoughts), len(calls), len(calls[-1].arguments) if calls else 0, over, self._unfolded)
        if drawn == self._thought_drawn:
            return
        self._thought_drawn = drawn
        marks = glyphs.find_glyphs(self)
        summary = ""
        if over and thoughts:
            words = len(self.exchange.thought.split())
            mark = marks.unfolded if self._unfolded else marks.folded
            summary = f"{mark} thought for {words} {'word' if words == 1 else 'words'}"
        if self._unfolded:
            # All of a thought that goes on would be wrapped with each word of it.
            shown = f"{summary}\n{''.join(thoughts if over else thoughts[-UNFOLDED_PIECES:]).strip()}\n".lstrip("\n")
        else:
            shown = summary or "\n".join("".join(thoughts[-THOUGHT_PIECES:]).strip().splitlines()[-THOUGHT_LINES:])
        line = self.query_one(Thought)
        line.display = bool(shown)
        line.update(shown)
        if calls:
            self.query_one(CallCards).show(calls)

    def _take(self, text: str, ended: bool) -> None:
        """Draw new text, but for the half of a sign whose other half is still to come."""
        text = self._half + text
        cut = len(text) if ended or (half := _HALF.search(text)) is None else half.start()
        self._half, text = text[cut:], text[:cut]
        # How a joiner or a mark is shown depends on what stands before it.
        printable = make_printable(self._neighbours + text, lines=True)
        if printable.startswith(self._neighbours):
            printable = printable[len(self._neighbours) :]
        else:
            printable = make_printable(text, lines=True)
        self._neighbours = (self._neighbours + printable)[-NEIGHBOUR_CHARACTERS:]
        self.text.take(printable, ended=ended)

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        marks = glyphs.find_glyphs(self)
        line = summarize_exchange(self.exchange, marks.dot)
        if self.exchange.outcome is Outcome.STOPPED and self.exchange.end is None and self._made is not None:
            line = f"{line} {marks.dot} {draw_progress(self._made, None, marks).plain}"
        failed = self.exchange.outcome is Outcome.FAILED
        self.set_class(failed, "-failed")
        self.query_one(".stats", Static).update(Content.styled(line, "$error" if failed else ""))
