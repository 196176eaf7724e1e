"""One answer of a comparison, drawn while it is written; afterwards with what differs from the others marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.content import Content, Span

from core.conversations.differences import Span as Difference
from core.conversations.tree import Outcome
from core.foreign_text import make_printable
from tui import format as fmt
from tui import glyphs
from tui.screens.chat.compare.contest import LETTERS, ContestLane
from tui.widgets.plain import Plain

MOST_STREAMED_CHARACTERS: Final = 4000
"""Of the end of an answer that is being written: all of a long one would be laid out anew ten times a second."""
MOST_SHOWN_CHARACTERS: Final = 60_000
DIFFERENCE_STYLE: Final = "bold $gauge-warn"


class LaneScroll(VerticalScroll):
    """Up and down read on in the answer, left and right go to the ones beside it."""

    BINDINGS = [
        Binding("left", "screen.go(-1)", "Before", show=False),
        Binding("right", "screen.go(1)", "Next", show=False),
    ]


class LaneView(Vertical):
    """Reads the lane it was given; `draw` shows what is new."""

    def __init__(self, number: int) -> None:
        super().__init__(classes="lane")
        self.number = number
        self.lane: ContestLane | None = None
        self._drawn: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Plain(classes="lane-who")
        with LaneScroll(classes="lane-scroll"):
            yield Plain(classes="lane-text")
        yield Plain(classes="lane-stats")

    def head(self, words: str, *, hidden: bool) -> None:
        """Whose answer it is, or a letter."""
        self.query_one(".lane-who", Plain).update(f"answer {LETTERS[self.number]}" if hidden else words)

    def draw(self, *, hidden: bool) -> None:
        """What is new of the answer. How fast it comes would tell whose it is, so that is `hidden` with the names."""
        lane = self.lane
        if lane is None:
            return
        version = lane.version
        now = (len(version.pieces), len(version.thoughts), version.outcome, lane.note, round(lane.rate, 1), hidden)
        if now == self._drawn:
            return
        text_changed = now[:3] != self._drawn[:3]
        self._drawn = now
        if text_changed:
            text = version.text
            if not lane.ended:
                text = text[-MOST_STREAMED_CHARACTERS:]
            self.query_one(".lane-text", Plain).update(text[:MOST_SHOWN_CHARACTERS])
            if not lane.ended:
                self.query_one(".lane-scroll", VerticalScroll).scroll_end(animate=False)
        self.query_one(".lane-stats", Plain).update(self._describe(lane, hidden=hidden))

    def mark(self, differences: Sequence[Difference]) -> None:
        """Show the whole answer from its beginning, with what differs from the others."""
        if self.lane is None:
            return
        text = self.lane.version.text[:MOST_SHOWN_CHARACTERS]
        pieces: list[Content] = []
        at = 0
        # Escapes change the number of characters: each piece is made printable by itself.
        for start, end in differences:
            pieces += [_plain(text[at:start]), _plain(text[start:end], DIFFERENCE_STYLE)]
            at = end
        self.query_one(".lane-text", Plain).update(Content("").join([*pieces, _plain(text[at:])]))
        self.query_one(".lane-scroll", VerticalScroll).scroll_home(animate=False)

    def _describe(self, lane: ContestLane, *, hidden: bool) -> Content:
        version, dot = lane.version, glyphs.find_glyphs(self).dot
        if version.outcome is Outcome.FAILED:
            return Content.styled("failed" if hidden else version.error, "$error")
        if not lane.ended:
            if not version.pieces and not version.thoughts:
                return Content.styled(lane.note, "$quiet")
            doing = "writing" if version.pieces else "thinking"
            if hidden or not lane.rate:
                return Content.styled(doing, "$quiet")
            return Content.styled(f"{doing} {dot} {fmt.format_rate(lane.rate)} tok/s", "$quiet")
        stopped = "stopped" if version.outcome is Outcome.STOPPED else "done"
        if hidden or version.end is None:
            return Content.styled(stopped, "$quiet")
        usage, timings = version.end.usage, version.end.timings
        told = [f"{fmt.format_count(usage.completion_tokens)} tok"]
        if rate := timings.decode_rate(usage.completion_tokens):
            told.append(f"{fmt.format_rate(rate)} tok/s")
        told.append(f"first {fmt.format_seconds(timings.queued + timings.prefill)}")
        told += [each for each in (version.writer.quant, version.writer.engine) if each]
        return Content.styled(f" {dot} ".join(told), "$quiet")


def _plain(text: str, style: str = "") -> Content:
    shown = make_printable(text, lines=True)
    return Content(shown, [Span(0, len(shown), style)] if style and shown else [])
