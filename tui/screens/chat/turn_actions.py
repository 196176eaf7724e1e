"""What is done to one turn of a chat: its question asked otherwise, its other answers, an answer gone on with, code and
thoughts."""

from __future__ import annotations

from abc import abstractmethod

from textual import on

from core.conversations.tree import Outcome
from core.events import FinishReason
from tui import format as fmt
from tui.screens.base import WorkbenchScreen
from tui.screens.chat.answer import AnswerView
from tui.screens.chat.answer_text import AnswerText
from tui.screens.chat.conversation import Chat, Exchange
from tui.screens.chat.message_field import MessageField
from tui.screens.chat.transcript import TranscriptView, Versions


class TurnActions(WorkbenchScreen):
    """The part of the chat screen that acts on the chosen turn, which is the newest one where none is."""

    chat: Chat

    def __init__(self) -> None:
        super().__init__()
        self.instead_of: Exchange | None = None
        """Whose question the message in the field is to take the place of."""

    @abstractmethod
    async def begin(self, exchange: Exchange, *, continued: bool = False) -> None:
        """Have an answer written, or gone on with, of an exchange that is the last one."""

    @property
    def _transcript(self) -> TranscriptView:
        return self.query_one(TranscriptView)

    @property
    def _chosen(self) -> Exchange | None:
        turn = self._transcript.chosen
        return turn.exchange if turn is not None else None

    def copy(self, text: str) -> None:
        """To the clipboard."""
        self.app.copy_to_clipboard(text)
        self.notify(f"Copied {fmt.format_count(len(text))} characters.")

    # Other ways on.

    def action_choose_turn(self, by: int) -> None:
        if not self._transcript.choose(by):
            self.notify("There is no other question there.", severity="warning")

    async def action_edit(self) -> None:
        """The question goes to the message field; what is sent then takes its place, and it is kept as a version."""
        exchange = self._chosen
        if exchange is None:
            self.notify("There is no question to edit yet.", severity="warning")
            return
        self.instead_of = exchange
        self._transcript.mark_edited(exchange)
        field = self.query_one(MessageField)
        await field.fill(exchange.question, exchange.attachments)
        field.head("in place of the question; escape leaves that as it is")

    def stop_editing(self) -> Exchange | None:
        """Nothing is edited any more; what was."""
        exchange, self.instead_of = self.instead_of, None
        if exchange is not None:
            self._transcript.mark_edited(None)
            self.query_one(MessageField).head("")
        return exchange

    async def leave_edit(self) -> bool:
        """Empty the field where a question is being edited; whether one was."""
        if self.stop_editing() is None:
            return False
        await self.query_one(MessageField).clear()
        return True

    @on(Versions.Wanted)
    async def turn_version(self, event: Versions.Wanted) -> None:
        self._transcript.choose_exchange(event.exchange)
        if not self.writing:
            await self.action_version(event.by)

    async def action_version(self, by: int) -> None:
        """The answer before or behind, and beyond the first and the last one the question before or behind."""
        exchange = self._chosen
        if exchange is None:
            return
        number, count = exchange.numbering
        if 1 <= number + by <= count:
            self.chat.choose_answer(exchange, by)
        elif self.chat.choose_branch(exchange, by) is None and self.chat.choose_answer(exchange, by) is None:
            self.notify("There is one version of it: ctrl+r asks for another answer.", severity="warning")
            return
        await self._transcript.follow()
        turn = next((each for each in self.chat.exchanges if each.turn.parent == exchange.turn.parent), None)
        self._transcript.choose_exchange(turn)
        self.refresh_bindings()

    async def action_continue(self) -> None:
        """The last answer goes on where it was stopped."""
        last = self.chat.exchanges[-1] if self.chat.exchanges else None
        if last is None or not can_continue(last):
            self.notify("The last answer came to its own end; ctrl+r asks for another.", severity="warning")
            return
        await self.begin(last, continued=True)

    # What is in an answer.

    @on(AnswerText.CodeChosen)
    def copy_chosen_code(self, event: AnswerText.CodeChosen) -> None:
        self.copy(event.source.text)

    def action_copy_code(self) -> None:
        """One piece of code of the answer, from its end; each time another one."""
        answer = self._answer
        if answer is None or (code := answer.next_code()) is None:
            self.notify("There is no code in this answer.", severity="warning")
        else:
            self.copy(code)

    def action_turn_code(self) -> None:
        self._transcript.turn_code()

    def action_turn_thought(self) -> None:
        answer = self._answer
        if answer is None or not answer.turn_thought():
            self.notify("This answer was not thought about.", severity="warning")

    @property
    def _answer(self) -> AnswerView | None:
        turn = self._transcript.chosen
        return turn.answer if turn is not None else None


def can_continue(exchange: Exchange) -> bool:
    """Whether an answer has words, and an end that was not its own."""
    if not exchange.answer.strip() or exchange.calls:
        return False
    if exchange.outcome in (Outcome.STOPPED, Outcome.CUT_OFF, Outcome.FAILED):
        return True
    return exchange.end is not None and exchange.end.reason is FinishReason.LENGTH
