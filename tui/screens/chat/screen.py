"""Chat with the model in use."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import Static

from core.conversations.attachments import Attachment
from core.conversations.tree import AnswerVersion, Outcome
from core.errors import BenchtopError, Cancelled
from core.events import Failed
from core.snapshots import ModelSnapshot, ModelState, Snapshot
from tui import format as fmt
from tui import glyphs
from tui.actions.action import build_bindings
from tui.screens.chat.actions import ACTIONS
from tui.screens.chat.answer import AnswerView
from tui.screens.chat.composer import Composer
from tui.screens.chat.conversation import FULL_SHARE, WARN_SHARE, Chat, Exchange
from tui.screens.chat.kept_chats import KeptChats
from tui.screens.chat.message_field import MessageField
from tui.screens.chat.options import ChatOptions
from tui.screens.chat.progress import LoadLine
from tui.screens.chat.transcript import Earlier, TranscriptView
from tui.screens.chat.turn_actions import TurnActions, can_continue
from tui.screens.chat.written_by import describe_writer
from tui.session import find_model, list_talk_notes
from tui.widgets.gauge import Gauge
from tui.widgets.plain import Plain

if TYPE_CHECKING:
    from core.serving.stream import Stream

REMOTE = "remote"
"""The engine whose models are on servers."""
VERSION_KEYS = ("left_square_bracket", "right_square_bracket")
"""Act on the chosen turn where the conversation has the focus and nothing is written."""
KEEP_SECONDS = 1.0
"""Of an answer that a killed program may lose."""
BUSY_SHARE = 0.9
"""Of all processors, from which an answer is drawn less often."""
SUGGESTIONS = ("What is a KV cache?", "Which quant should I take?", "How do I serve a model?")


@final
class ChatScreen(TurnActions, KeptChats, ChatOptions):
    """The conversation, the gauge of its context, and the message being written."""

    NAME = "chat"
    ACTIONS = ACTIONS
    BINDINGS = build_bindings(ACTIONS)
    AUTO_FOCUS = "#composer"

    class Ended(Message):
        """An exchange has come to its end, whichever."""

        def __init__(self, exchange: Exchange) -> None:
            super().__init__()
            self.exchange = exchange

    def __init__(self) -> None:
        super().__init__()
        self.chat = Chat()
        self._stream: Stream | None = None
        self._writing: Exchange | None = None
        self._skippable = False
        """Whether the model in use is being measured, before it is loaded."""
        self._warned = False
        self._served = False
        """Whether the model is there to answer."""
        self._window: int | None = None
        """Tokens that the model's context holds; None where nobody knows."""
        self._used = 0
        """Tokens of it that the gauge shows as used."""
        self._told: tuple[str, ...] = ()
        self._greeted: tuple[object, ...] = ()

    def body(self) -> ComposeResult:
        with Horizontal(id="chat"):
            yield from self.compose_list()
            with Vertical(id="talk"):
                yield TranscriptView(self.chat.exchanges, Plain(id="welcome"))
                with Vertical(id="desk"):
                    yield LoadLine()
                    yield Plain(id="talk-note")
                    yield Gauge("context", value_width=22, dom_id="context")
                    yield MessageField(self.count_tokens, Path.cwd())

    def on_mount(self) -> None:
        self.query_one("#talk-note").display = False
        self._greet(None)
        self._draw_context()
        self.restore()
        self.recall_questions()

    def _greet(self, model: ModelSnapshot | None) -> None:
        """What stands where there is no conversation yet, for the model in use."""
        remote = model is not None and model.engine == REMOTE
        greeted = (self.desk.model, remote, glyphs.find_glyphs(self))
        if greeted != self._greeted:
            self._greeted = greeted
            self.query_one("#welcome", Static).update(self._welcome(remote))

    def _welcome(self, remote: bool) -> Content:
        whereabouts = (
            "This model is on a server; what you write is sent there."
            if remote
            else "Everything runs in this process; nothing leaves this machine."
        )
        lines = [
            Content.assemble(("Ask ", ""), (self.desk.model.rsplit("/", 1)[-1], "$primary bold"), (" something.", "")),
            Content(""),
        ]
        for number, text in enumerate(SUGGESTIONS):
            lines.append(
                Content.assemble((f"{glyphs.find_glyphs(self).dot} ", "$quiet")).append(
                    Content.from_markup(f"[@click=screen.suggest({number})]$text[/]", text=text)
                )
            )
        lines += [
            Content(""),
            Content.styled(whereabouts, "$quiet"),
        ]
        return Content("\n").join(lines)

    def action_suggest(self, number: int) -> None:
        composer = self.query_one(Composer)
        composer.text = SUGGESTIONS[number]
        composer.move_cursor(composer.document.end)
        composer.focus()

    def show(self, snapshot: Snapshot) -> None:
        model = find_model(snapshot, self.desk.model)
        self._tell_of(model)
        self._greet(model)
        self.follow_options()
        self.keep()
        self.keep_draft()
        self.follow_conversations()
        served = model is not None and model.state is not ModelState.LOADING
        window = model.context if model is not None else None
        self._tell_loading(model, snapshot)
        self._tell_progress(snapshot, model)
        if (served, window, self.chat.tokens) != (self._served, self._window, self._used):
            self._served, self._window = served, window
            self._draw_context()

    def _tell_loading(self, model: ModelSnapshot | None, snapshot: Snapshot) -> None:
        """Of the model in use, else of one that is to take its place. Escape stops an answer before it skips."""
        line = self.query_one(LoadLine)
        loading = (each for each in (model, *snapshot.models) if each and each.state is ModelState.LOADING)
        line.show(next(loading, None), snapshot.uptime, may_skip=self._stream is None)
        if line.skippable is not self._skippable:
            self._skippable = line.skippable
            self.refresh_bindings()

    def action_skip_measuring(self) -> None:
        self.desk.workbench.models.skip_measuring()
        self.notify("What was measured so far decides.")

    def _tell_progress(self, snapshot: Snapshot, model: ModelSnapshot | None) -> None:
        """How far the answer that is being written has come, below it; its tokens count for the context already."""
        exchange, stream = self._writing, self._stream
        if exchange is None or stream is None:
            return
        row = next((each for each in snapshot.requests if each.id == stream.request_id), None)
        answer = self._answer_being_written()
        if row is not None:
            exchange.tokens_so_far = row.prompt_tokens + row.completion_tokens
            if answer is not None:
                answer.show_progress(row, model, busy=snapshot.machine.cpu_percent >= 100 * BUSY_SHARE)

    def _tell_of(self, model: ModelSnapshot | None) -> None:
        """What is odd about talking with this model, for as long as it is the one in use."""
        notes = list_talk_notes(model)
        if notes != self._told:
            self._told = notes
            line = self.query_one("#talk-note", Plain)
            line.display = bool(notes)
            line.update("\n".join(notes))

    @on(MessageField.Sent)
    async def send(self, event: MessageField.Sent) -> None:
        """Ask, unless an answer is still being written: then the message stays where it is."""
        if self._writing is not None:
            self.notify("An answer is still being written; escape stops it.", severity="warning")
            return
        field = self.query_one(MessageField)
        field.composer.earlier.add(event.text)
        await field.clear()
        replaced, (text, attached) = self.stop_editing(), (event.text, event.attachments)
        await self.begin(
            self.chat.ask(text, attached) if replaced is None else self.chat.ask_instead(replaced, text, attached)
        )

    async def begin(self, exchange: Exchange, *, continued: bool = False) -> None:
        self._writing = exchange
        if continued:
            exchange.outcome, exchange.error, exchange.version.end = Outcome.WRITING, "", None
        self.refresh_bindings()
        exchange.model = self.desk.model.rsplit("/", 1)[-1]
        answer = await self.query_one(TranscriptView).show_newest(exchange)
        if not self.desk.ready and self.desk.problem is None:
            answer.note(f"{exchange.model} is loading; your message is sent when it is ready")
        self.generate(exchange, continued=continued)

    @work(group="generate", exclusive=True)
    async def generate(self, exchange: Exchange, *, continued: bool = False) -> None:
        """Gather one answer. Widgets read the exchange on their own beat; only its end is posted."""
        try:
            await self._gather(exchange, continued=continued)
        except Cancelled:
            exchange.outcome = Outcome.STOPPED
        except BenchtopError as error:
            exchange.outcome, exchange.error = Outcome.FAILED, str(error)
        finally:
            self._stream = None
            if exchange.outcome is Outcome.WRITING:
                exchange.outcome = Outcome.STOPPED
            self.post_message(self.Ended(exchange))

    async def _gather(self, exchange: Exchange, *, continued: bool) -> None:
        # Before the model is there, which may take minutes.
        await self.shelf.settle(self.chat)
        model = await self.desk.until_ready()
        await self.shelf.settle(self.chat)
        workbench, settings = self.desk.workbench, self.settings
        request = settings.apply(self.chat.request(model, continued=continued))
        self._stream = stream = await workbench.requests.submit(request)
        # It may have been loaded for this.
        exchange.version.writer = describe_writer(model, self.desk.snapshot(), settings)
        self._note("waiting for a free slot")
        await stream.admitted()
        self._note(f"reading {fmt.format_count(stream.prompt_tokens)} tokens")
        due = time.monotonic() + KEEP_SECONDS
        async for batch in stream:
            thinking = exchange.thinking
            for event in batch:
                if isinstance(event, Failed):
                    raise event.error
                exchange.take(event)
            if exchange.thinking is not thinking:
                self.refresh_bindings()
            if time.monotonic() >= due:
                self.keep()
                due = time.monotonic() + KEEP_SECONDS
        exchange.outcome = Outcome.DONE
        # From now on it outlives a kill.
        await self.shelf.settle(self.chat)

    def _note(self, text: str) -> None:
        answer = self._answer_being_written()
        if answer is not None and not answer.exchange.pieces:
            answer.note(text)

    def _answer_being_written(self) -> AnswerView | None:
        answer = self.query_one(TranscriptView).newest
        return answer if answer is not None and answer.exchange is self._writing else None

    @on(Ended)
    def settle(self, event: Ended) -> None:
        if self._writing is event.exchange:
            self._writing = None
        self.shelf.keep_all()
        self.refresh_bindings()
        self._draw_context()

    def _draw_context(self) -> None:
        """The gauge, and one warning before the context is full."""
        self._used = used = self.chat.tokens
        whole = self._window or 0
        share = used / whole if whole else 0.0
        known = (
            f"{fmt.format_count(used)} of {fmt.format_count(whole)} tokens"
            if whole
            else f"{fmt.format_count(used)} tokens"
        )
        text = known if self._served else "no model yet"
        self.query_one("#context", Gauge).show(share, text)
        if share >= WARN_SHARE and not self._warned:
            self._warned = True
            left = fmt.format_count(max(0, whole - used))
            full = "The context is almost full" if share >= FULL_SHARE else "The context is filling up"
            self.notify(f"{full}: {left} tokens are left. ctrl+n begins a new chat.", severity="warning", timeout=8)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What makes no sense while an answer is being written, or while none is, has no key and no place below."""
        if action == "skip_measuring":
            return self._skippable
        if action == "stop":
            return self._writing is not None
        if action == "end_thought":
            return self._writing is not None and self._writing.thinking
        if action in ("leave", "regenerate", "other_answer", "export", "edit", "continue", "version", "compare"):
            return self._writing is None
        return True

    def offers(self, action: str) -> bool:
        """What there is nothing for yet says so when its key is pressed, and takes no room from what there is."""
        exchanges = self.chat.exchanges
        match action:
            case "continue":
                return bool(exchanges) and can_continue(exchanges[-1])
            case "copy_answer":
                return bool(self.chat.last_answer)
            case "new" | "regenerate" | "export":
                return bool(exchanges)
        return True

    @property
    def writing(self) -> bool:
        """Whether an answer is being written."""
        return self._writing is not None

    def action_copy_or_stop(self) -> None:
        if chosen := self.get_selected_text():
            self.copy(chosen)
            self.clear_selection()
        elif self._writing is not None:
            self.action_stop()

    def action_stop(self) -> None:
        if self._stream is not None:
            self._stream.cancel()
        else:
            self.workers.cancel_group(self, "generate")

    def action_end_thought(self) -> None:
        """Where there is nothing to end the answer goes on as it is."""
        if self._stream is not None and self.desk.workbench.requests.end_thinking(self._stream.request_id):
            self._note("the model is to answer now")

    async def action_leave(self) -> None:
        if not await self.leave_edit():
            self.query_one(TranscriptView).focus()

    def on_key(self, event: Key) -> None:
        """What is typed goes to the message, also after a click elsewhere: nobody who writes means a command."""
        composer = self.query_one(Composer)
        if event.key in VERSION_KEYS and not composer.text and self.query_one(TranscriptView).has_focus:
            return
        if event.character is not None and not composer.has_focus and composer.takes(event):
            event.stop()
            event.prevent_default()
            composer.write(event.character)

    def on_paste(self, event: Paste) -> None:
        """The same of what is pasted."""
        composer = self.query_one(Composer)
        if not composer.has_focus:
            event.stop()
            composer.paste(event.text)

    async def turn_to(self, chat: Chat) -> None:
        """Show another conversation; an answer that is being written ends, and is kept as far as it came."""
        await self.leave_edit()
        self._put_down()
        self.keep_draft()
        if self._stream is not None:
            self._stream.cancel()
        self.workers.cancel_group(self, "generate")
        self._writing = None
        self._warned = False
        self.chat = chat
        self.query_one(Composer).earlier.bring_to_end(exchange.question for exchange in chat.exchanges)
        await self.draw_anew()
        self._draw_context()
        self.refresh_bindings()
        self.go_back()

    async def draw_anew(self) -> None:
        await self.query_one(TranscriptView).restart(self.chat.exchanges)

    @property
    def transcript_stands(self) -> bool:
        return self._writing is None

    def leave_off(self) -> None:
        draft = self.keep_comparison()
        self._put_down()
        self.keep_draft(draft)

    def _put_down(self) -> None:
        if self._writing is not None and self._writing.outcome is Outcome.WRITING:
            self._writing.outcome = Outcome.STOPPED
        self.keep()
        self.shelf.keep_all()

    def go_back(self) -> None:
        self.query_one(Composer).focus()

    async def take_answers(
        self, question: str, attachments: tuple[Attachment, ...], answers: Sequence[AnswerVersion]
    ) -> None:
        exchange = self.chat.take_answers(question, attachments, answers)
        self.keep()
        await self.query_one(TranscriptView).show_newest(exchange)
        self._draw_context()

    async def action_regenerate(self) -> None:
        if self._writing is not None or (exchange := self.chat.answer_again()) is None:
            self.notify("There is no finished answer to replace.", severity="warning")
            return
        await self.begin(exchange)

    async def action_other_answer(self) -> None:
        last = self.chat.exchanges[-1] if self.chat.exchanges else None
        if last is None or self.chat.choose_answer(last, -1) is None:
            self.notify("The last question has no other answer; ctrl+r asks for one.", severity="warning")
            return
        await self.query_one(TranscriptView).follow()
        self._draw_context()
        self.refresh_bindings()

    def action_copy_answer(self) -> None:
        if answer := self.chat.last_answer:
            self.copy(answer)
        else:
            self.notify("There is no answer to copy yet.", severity="warning")

    def action_write(self) -> None:
        self.query_one(Composer).focus()

    @on(Earlier.Wanted)
    async def action_earlier(self) -> None:
        await self.query_one(TranscriptView).bring_back()

    @on(Composer.Paged)
    async def page(self, event: Composer.Paged) -> None:
        transcript = self.query_one(TranscriptView)
        transcript.release_anchor()
        if event.down:
            transcript.scroll_page_down(animate=False)
        elif transcript.at_start:
            await transcript.bring_back()
        else:
            transcript.scroll_page_up(animate=False)
