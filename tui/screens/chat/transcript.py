"""The conversation as it is read: follows the newest line until the reader scrolls up, keeps few turns mounted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Static

from tui.screens.chat.answer import AnswerView
from tui.screens.chat.conversation import Exchange
from tui.widgets.plain import Plain

WINDOW_EXCHANGES = 12
"""Exchanges kept mounted while the reader is at the newest one."""


class Question(Plain):
    """What the user said, as typed."""

    def __init__(self, text: str) -> None:
        super().__init__(text, classes="question")


class Turn(Vertical):
    """One exchange."""

    def __init__(self, exchange: Exchange, away: Callable[[], bool]) -> None:
        super().__init__(classes="turn")
        self.exchange = exchange
        self.answer = AnswerView(exchange, away)

    def compose(self) -> ComposeResult:
        yield Question(self.exchange.question)
        yield self.answer


class Earlier(Plain):
    """Stands for the turns that are not mounted; a click brings some back."""

    class Wanted(Message):
        pass

    def on_click(self) -> None:
        self.post_message(self.Wanted())


class TranscriptView(VerticalScroll):
    """Shows a list of exchanges that someone else owns."""

    def __init__(self, exchanges: Sequence[Exchange], empty: Static) -> None:
        super().__init__(id="transcript")
        self._exchanges = exchanges
        self._first = 0
        self._empty = empty

    def compose(self) -> ComposeResult:
        yield Earlier(id="earlier")
        yield self._empty

    def on_mount(self) -> None:
        self.anchor()
        self.query_one(Earlier).display = False

    @property
    def following(self) -> bool:
        """Whether the newest line is in sight, or nearly."""
        # A short conversation is anchored to the bottom by a negative offset.
        return self.max_scroll_y <= 0 or self.max_scroll_y - self.scroll_offset.y <= 2

    @property
    def newest(self) -> AnswerView | None:
        turns = self.query(Turn)
        return turns.last().answer if turns else None

    def away(self) -> bool:
        """Whether the newest line is out of sight: scrolled away from, or on a screen that is not shown."""
        return not self.following or self.screen not in self.app.screen_stack

    async def add(self, exchange: Exchange) -> AnswerView:
        """Mount a new exchange, go to it, and let the oldest ones go."""
        self._empty.display = False
        turn = Turn(exchange, self.away)
        await self.mount(turn)
        self.anchor()
        turns = list(self.query(Turn))
        for old in turns[:-WINDOW_EXCHANGES]:
            await old.remove()
        self._first += max(0, len(turns) - WINDOW_EXCHANGES)
        self._mark_earlier()
        return turn.answer

    async def drop_last(self) -> None:
        """Unmount the newest exchange."""
        if turns := self.query(Turn):
            await turns.last().remove()

    async def restart(self, exchanges: Sequence[Exchange]) -> None:
        """Show another conversation, from its newest line."""
        self._exchanges = exchanges
        await self.query(Turn).remove()
        self._empty.display = not exchanges
        self._first = max(0, len(exchanges) - WINDOW_EXCHANGES)
        await self.mount(*(Turn(exchange, self.away) for exchange in exchanges[self._first :]))
        self.anchor()
        self._mark_earlier()

    @property
    def at_start(self) -> bool:
        """Whether the first mounted line is in sight, and there are earlier ones."""
        return self._first > 0 and self.scroll_offset.y <= 0

    @on(Earlier.Wanted)
    async def bring_back(self) -> None:
        """Mount one more window of earlier exchanges above."""
        start = max(0, self._first - WINDOW_EXCHANGES)
        turns = [Turn(exchange, self.away) for exchange in self._exchanges[start : self._first]]
        if turns:
            self.release_anchor()
            await self.mount(*turns, after=self.query_one(Earlier))
        self._first = start
        self._mark_earlier()

    def _mark_earlier(self) -> None:
        earlier = self.query_one(Earlier)
        earlier.display = self._first > 0
        earlier.update(f"{self._first} earlier exchanges: click, or alt+e")
