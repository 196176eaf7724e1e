"""What holds for the answers to come: the settings of the chat, the model in use, and comparing several."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import work

from core.conversations.attachments import Attachment, MessageDraft
from core.conversations.presets import PresetShelf
from core.conversations.settings import ChatSettings
from core.conversations.store import ConversationsUnreadable
from core.conversations.tree import AnswerVersion
from core.conversations.votes import VoteBox
from core.errors import BenchtopError
from core.serving.ready import Traits
from core.settings.schema import find_folders
from core.snapshots import ModelSnapshot, ModelState
from tui import glyphs
from tui.screens.base import WorkbenchScreen
from tui.screens.chat.conversation import Chat
from tui.screens.chat.message_field import MessageField
from tui.screens.chat.settings_dialog import describe_defaults, summarize_settings
from tui.screens.chat.written_by import decode_settings, encode_settings
from tui.session import find_model

if TYPE_CHECKING:
    from tui.screens.chat.model_picker import ModelChoice

MOST_RECALLED_QUESTIONS = 500
PRESETS_FILE = "presets.json"
VOTES_FILE = "votes.jsonl"
HINTS = ("alt+s settings", "alt+m model", "alt+c compare")
"""What stands below the message where the chat has no settings of its own."""


class ChatOptions(WorkbenchScreen):
    """A screen with a conversation and a field for messages."""

    chat: Chat

    def __init__(self) -> None:
        super().__init__()
        self._settings_drawn: tuple[object, ...] = ()
        self._counted_for = ""
        """The model whose tokens the chips tell."""

    @property
    def settings(self) -> ChatSettings:
        """Those of this chat."""
        return decode_settings(self.chat.tree.settings)

    def follow_options(self) -> None:
        """Draw what has changed of settings and model; called with each snapshot."""
        drawn = self.chat.tree.settings, self.desk.model, self.desk.ready, self.size.width
        if drawn != self._settings_drawn:
            self._settings_drawn = drawn
            self._draw_settings()
        if self.desk.ready and self.desk.model != self._counted_for:
            self._counted_for = self.desk.model
            self.query_one(MessageField).recount()

    def _draw_settings(self) -> None:
        marks = glyphs.find_glyphs(self)
        defaults = describe_defaults(self._find_traits())
        field = self.query_one(MessageField)
        width = max(10, field.composer.size.width - 4)
        told = summarize_settings(self.settings, defaults, marks.dot, width, marks.cut)
        field.tell(told or f" {marks.dot} ".join(HINTS))

    @work(group="recall")
    async def recall_questions(self) -> None:
        """Have up and down walk through what was asked before this start, too."""
        await self.desk.until_started()
        store = self.desk.workbench.conversations
        if store is None:
            return
        # That they cannot be read is told where the conversation is restored.
        with contextlib.suppress(ConversationsUnreadable):
            asked = await asyncio.to_thread(store.list_questions, MOST_RECALLED_QUESTIONS)
            earlier = self.query_one(MessageField).composer.earlier
            earlier.put_before(asked)
            earlier.bring_to_end(exchange.question for exchange in self.chat.exchanges)

    def _find_traits(self) -> Traits | None:
        """Of the model in use; None while it is not loaded."""
        if not self.desk.ready:
            return None
        try:
            return self.desk.workbench.models.host(self.desk.model).traits
        except BenchtopError:
            return None

    def action_settings(self) -> None:
        from tui.screens.chat.settings_dialog import ChatSettingsDialog

        defaults = describe_defaults(self._find_traits())
        self.app.push_screen(ChatSettingsDialog(self.settings, defaults, self._presets, self.set_settings))

    @property
    def _presets(self) -> PresetShelf:
        return PresetShelf(find_folders().config / PRESETS_FILE)

    def set_settings(self, settings: ChatSettings) -> None:
        """They hold from the next question on."""
        self.chat.tree.settings = encode_settings(settings)
        self.keep()
        self.follow_options()

    @abstractmethod
    def keep(self) -> None:
        """Something about the conversation is new."""

    def action_switch_model(self) -> None:
        from tui.screens.chat.model_picker import ModelPicker

        self.app.push_screen(ModelPicker(self.desk, self._loaded_models(), "talk with", self._switch))

    def _loaded_models(self) -> tuple[ModelSnapshot, ...]:
        snapshot = self.desk.snapshot()
        return tuple(each for each in snapshot.models if each.state is ModelState.READY) if snapshot else ()

    def _switch(self, choice: ModelChoice) -> None:
        """The conversation goes on with another model, once that is loaded."""
        if choice.served:
            self.desk.use(choice.served)
            self.bench.pulse()
            return
        self.notify(f"{choice.label} is loading; the conversation goes on with it then.")
        self.bench.load(choice.name)

    def action_compare(self) -> None:
        from tui.screens.chat.compare.contest import Contestant
        from tui.screens.chat.compare.screen import CompareScreen

        snapshot = self.desk.snapshot()
        model = find_model(snapshot, self.desk.model)
        if model is None or not self.desk.ready:
            self.notify("There is no model yet to compare with others.", severity="warning")
            return
        earlier = self.query_one(MessageField).composer.earlier
        first = Contestant(model.name, model.name.rsplit("/", 1)[-1], self.settings, model.weight_bytes)
        self.app.push_screen(
            CompareScreen(
                self.desk,
                (first,),
                ask=self.chat.request_next,
                take=self.take_answers,
                count=self.count_tokens,
                shelf=self._presets,
                votes=VoteBox(find_folders().state / VOTES_FILE),
                remember=lambda asked: earlier.bring_to_end([asked]),
            )
        )

    def keep_comparison(self) -> MessageDraft:
        """Have the answers of a comparison that the end of the app cuts off in the conversation; what was written there
        and not asked."""
        from tui.screens.chat.compare.screen import CompareScreen

        draft = MessageDraft()
        for screen in self.app.screen_stack:
            if isinstance(screen, CompareScreen):
                left = screen.leave_off()
                draft = left.draft
                if left.answers:
                    self.chat.take_answers(left.question, left.attachments, left.answers)
        return draft

    async def count_tokens(self, text: str) -> int:
        """By the tokenizer of the model in use, which waits for it to be loaded."""
        model = await self.desk.until_ready()
        async with self.desk.workbench.requests.reading(model) as reader:
            return len(await reader.encode(text, "messages", special=False, begin=False))

    @abstractmethod
    async def take_answers(
        self, question: str, attachments: tuple[Attachment, ...], answers: Sequence[AnswerVersion]
    ) -> None:
        """Go on with the last of these answers to a question; the others stand beside it."""
