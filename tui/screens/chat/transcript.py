"""The conversation as it is read: follows the newest line until the reader scrolls up, keeps few turns mounted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.events import Click
from textual.message import Message
from textual.widgets import Static

from tui import glyphs
from tui.screens.chat.answer import AnswerView
from tui.screens.chat.conversation import Exchange
from tui.screens.chat.writing.chips import describe_attachment
from tui.widgets.plain import Plain
from tui.widgets.settled import SettledSize

WINDOW_EXCHANGES = 12
"""Exchanges kept mounted while the reader is at the newest one, at most."""
WINDOW_CHARACTERS = 12_000
"""Of the newest exchanges that are mounted when a conversation is opened: more than the largest terminal shows."""
BACK_LINES = 400
"""Of a long answer, laid out at once when the reader comes near its first line that is."""


class Question(Plain):
    """What the user said, as typed."""

    def __init__(self, text: str) -> None:
        super().__init__(text, classes="question")


class Turn(SettledSize, Vertical):
    """One exchange."""

    BLANK = True
    """It draws nothing of its own: without this its lines would be made anew with every line of an answer."""

    def __init__(self, exchange: Exchange, away: Callable[[], bool], *, wrap_code: bool) -> None:
        super().__init__(classes="turn")
        self.exchange = exchange
        self.answer = AnswerView(exchange, away)
        self.answer.text.wrap_code = wrap_code

    def compose(self) -> ComposeResult:
        yield Question(self.exchange.question)
        if self.exchange.attachments:
            marks = glyphs.find_glyphs(self)
            told = [describe_attachment(each, marks.dot, marks.cut) for each in self.exchange.attachments]
            yield Plain("\n".join(told), classes="attached")
        yield Versions(self.exchange)
        yield self.answer


class Versions(Plain):
    """Which of its questions and answers a turn shows, where there are others; a click on either half goes to them."""

    class Wanted(Message):
        def __init__(self, exchange: Exchange, by: int) -> None:
            super().__init__()
            self.exchange = exchange
            self.by = by

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(classes="versions")
        self._exchange = exchange

    def on_mount(self) -> None:
        kinds = (("question", self._exchange.branching), ("answer", self._exchange.numbering))
        parts = [f"{what} {number} of {count}" for what, (number, count) in kinds if count > 1]
        self.display = bool(parts)
        self.update(f"[ {f' {glyphs.find_glyphs(self).dot} '.join(parts)} ]")

    def on_click(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Wanted(self._exchange, -1 if event.x < self.size.width // 2 else 1))


class Earlier(Plain):
    """Stands for the turns that are not mounted; a click brings some back."""

    class Wanted(Message):
        pass

    def on_click(self) -> None:
        self.post_message(self.Wanted())


class TranscriptView(SettledSize, VerticalScroll):
    """Shows a list of exchanges that someone else owns."""

    BLANK = True
    """As a `Turn` is."""

    def __init__(self, exchanges: Sequence[Exchange], empty: Static) -> None:
        super().__init__(id="transcript")
        self._exchanges = exchanges
        self._first = 0
        self._empty = empty
        self._wrap_code = True
        self._chosen: Exchange | None = None

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

    def _make_turn(self, exchange: Exchange) -> Turn:
        return Turn(exchange, self.away, wrap_code=self._wrap_code)

    async def add(self, exchange: Exchange) -> AnswerView:
        """Mount a new exchange, go to it, and let the oldest ones go."""
        self._empty.display = False
        self.choose_exchange(None)
        turn = self._make_turn(exchange)
        await self.mount(turn)
        self.anchor()
        turns = list(self.query(Turn))
        for old in turns[:-WINDOW_EXCHANGES]:
            await old.remove()
        self._first += max(0, len(turns) - WINDOW_EXCHANGES)
        self._mark_earlier()
        return turn.answer

    def turn_code(self) -> None:
        """Long lines of code go on below, or are cut, in all answers."""
        self._wrap_code = not self._wrap_code
        for turn in self.query(Turn):
            turn.answer.text.turn_code(self._wrap_code)

    async def follow(self) -> None:
        """Show the exchanges as they are now; turns that are among them still stay as they are."""
        await self._show(self._exchanges)

    async def show_newest(self, exchange: Exchange) -> AnswerView:
        """The same; the last one is to be written, or written on."""
        await self._show(self._exchanges[:-1])
        return await self.add(exchange)

    async def _show(self, exchanges: Sequence[Exchange]) -> None:
        self._first = min(self._first, max(0, len(exchanges) - 1))
        turns, wanted = list(self.query(Turn)), exchanges[self._first :]
        kept = 0
        while kept < min(len(turns), len(wanted)) and turns[kept].exchange is wanted[kept]:
            kept += 1
        for turn in turns[kept:]:
            await turn.remove()
        if wanted[kept:]:
            await self.mount(*(self._make_turn(exchange) for exchange in wanted[kept:]))
        self._empty.display = not self._exchanges
        self._mark_earlier()

    @property
    def chosen(self) -> Turn | None:
        """The turn that is acted on: the newest one, where none was chosen."""
        turns = list(self.query(Turn))
        return next((turn for turn in turns if turn.exchange is self._chosen), turns[-1] if turns else None)

    def choose(self, by: int) -> bool:
        """The turn so many before or behind the one that is acted on; whether there is one."""
        turns = list(self.query(Turn))
        now = self.chosen
        at = turns.index(now) + by if now is not None else -1
        if not 0 <= at < len(turns):
            return False
        self.choose_exchange(turns[at].exchange)
        turns[at].scroll_visible(animate=False, top=True)
        return True

    def choose_exchange(self, exchange: Exchange | None) -> None:
        """Act on this one; None for the newest."""
        self._chosen = exchange
        for turn in self.query(Turn):
            turn.set_class(turn.exchange is exchange, "-chosen")

    def mark_edited(self, exchange: Exchange | None) -> None:
        """Show that the question of this one is being written anew."""
        for turn in self.query(Turn):
            turn.set_class(turn.exchange is exchange, "-edited")

    async def restart(self, exchanges: Sequence[Exchange]) -> None:
        """Show another conversation, from its newest line."""
        self._exchanges = exchanges
        await self.query(Turn).remove()
        self._empty.display = not exchanges
        self._first = find_window(exchanges)
        await self.mount(*(self._make_turn(exchange) for exchange in exchanges[self._first :]))
        self.anchor()
        self._mark_earlier()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and new_value < self.size.height:
            self.call_next(self._reach_back)

    def _reach_back(self) -> None:
        """Lay out more of the topmost answer, where its beginning is not; what is in sight stays where it is."""
        turn = next((turn for turn in self.query(Turn) if turn.answer.text.document.has_more_above), None)
        if turn is None or turn.answer.text.region.y + turn.answer.text.size.height < 0:
            return
        added = turn.answer.text.reach_back(BACK_LINES)
        if added and not self.is_anchored_now:
            # Before the layout that makes room for it, which is why it is not checked against what can be scrolled.
            self.set_reactive(TranscriptView.scroll_y, self.scroll_y + added)
            self.set_reactive(TranscriptView.scroll_target_y, self.scroll_target_y + added)

    @property
    def is_anchored_now(self) -> bool:
        """Whether the newest line is kept in sight when more comes."""
        return self._anchored and not self._anchor_released

    @property
    def at_start(self) -> bool:
        """Whether the first mounted line is in sight, and there are earlier ones."""
        return self._first > 0 and self.scroll_offset.y <= 0

    @on(Earlier.Wanted)
    async def bring_back(self) -> None:
        """Mount one more window of earlier exchanges above."""
        start = max(0, self._first - WINDOW_EXCHANGES)
        turns = [self._make_turn(exchange) for exchange in self._exchanges[start : self._first]]
        if turns:
            self.release_anchor()
            await self.mount(*turns, after=self.query_one(Earlier))
        self._first = start
        self._mark_earlier()

    def _mark_earlier(self) -> None:
        earlier = self.query_one(Earlier)
        earlier.display = self._first > 0
        earlier.update(f"{self._first} earlier exchanges: click, or alt+e")


def find_window(exchanges: Sequence[Exchange]) -> int:
    """The first exchange to mount of a conversation that is opened: what fills the screen, not more."""
    characters = 0
    for at in range(len(exchanges) - 1, max(0, len(exchanges) - WINDOW_EXCHANGES) - 1, -1):
        characters += len(exchanges[at].question) + len(exchanges[at].answer)
        if characters > WINDOW_CHARACTERS:
            return at
    return max(0, len(exchanges) - WINDOW_EXCHANGES)
