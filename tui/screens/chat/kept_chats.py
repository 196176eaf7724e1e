"""What a chat does with conversations: keeps the one that is shown, restores the last one, opens others."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.screen import ModalScreen

from core.conversations.attachments import MessageDraft
from core.errors import BenchtopError
from core.files import expand_home, has_file, write_new
from core.foreign_text import make_printable
from tui import format as fmt
from tui.screens.base import WorkbenchScreen
from tui.screens.chat.conversation import Chat, Exchange
from tui.screens.chat.conversation_list import ConversationPane, ConversationsDialog
from tui.screens.chat.message_field import MessageField
from tui.screens.chat.shelf import ConversationShelf
from tui.widgets.row_list import Field, List

if TYPE_CHECKING:
    from core.conversations.listing import ConversationLine
    from core.conversations.store import ConversationStore


class KeptChats(WorkbenchScreen):
    """A screen with a conversation. `turn_to` shows another one; `keep` is called where the one that is shown has
    changed."""

    chat: Chat

    def __init__(self) -> None:
        super().__init__()
        self._shelf: ConversationShelf | None = None
        self._away: list[Chat] = []
        """Put away, the newest last."""
        self._deleted: list[tuple[str, str]] = []
        """Ids and titles, the newest last."""
        self._following = False
        self._draft: MessageDraft | None = None
        """As the file has it; None before that was looked at."""

    @property
    def shelf(self) -> ConversationShelf:
        if self._shelf is None:
            self._shelf = ConversationShelf(self.desk)
        return self._shelf

    @property
    def shown(self) -> str:
        return self.chat.tree.id

    @abstractmethod
    async def turn_to(self, chat: Chat) -> None:
        """Show another conversation; an answer that is being written ends."""

    @abstractmethod
    def go_back(self) -> None:
        """To the message."""

    @property
    @abstractmethod
    def transcript_stands(self) -> bool:
        """Whether what is shown may be drawn anew now."""

    @abstractmethod
    async def draw_anew(self) -> None:
        """Show the exchanges of the chat as they are now."""

    # Keeping.

    def keep(self) -> None:
        self.shelf.keep(self.chat)

    def keep_draft(self, other: MessageDraft = MessageDraft()) -> None:
        """Have the file know what is written and not sent, the `other` where that is nothing. Costs little where it is
        as before."""
        if self._draft is None or (store := self.shelf.store) is None:
            return
        draft = self.query_one(MessageField).draft
        draft = draft if draft.says_something else other
        if draft != self._draft:
            self._draft = draft
            store.keep_draft(draft)

    async def _restore_draft(self) -> None:
        """What was written and not sent when the program ended; up brings it where something is written already."""
        if (store := self.shelf.store) is None:
            return
        field = self.query_one(MessageField)
        try:
            self._draft = kept = await asyncio.to_thread(store.take_draft)
        finally:
            self._draft = self._draft or MessageDraft()
        if field.draft.says_something:
            field.composer.earlier.bring_to_end([kept.text])
        elif kept.says_something:
            await field.fill(kept.text, kept.attachments)

    @work(group="restore")
    async def restore(self) -> None:
        """The message that was not sent, and the conversation that was changed last, unless one was begun meanwhile."""
        fresh = self.chat
        await self.desk.until_started()
        try:
            self.shelf.tend()
            await self._restore_draft()
            last = await self.shelf.open_last()
        except BenchtopError as error:
            self.complain(error)
            return
        if last is not None and self.chat is fresh and not fresh.exchanges:
            await self.turn_to(last)
        self.keep()
        self._look()

    def follow_conversations(self) -> None:
        """See whether the file has changed, and what hinders the keeping; called with each snapshot."""
        for trouble in self.shelf.list_troubles():
            self.notify(trouble, severity="warning", timeout=12)
        if not self._following and self.shelf.has_moved():
            self._following = True
            self.catch_up()

    @work(group="catch-up")
    async def catch_up(self) -> None:
        """Take over what other programs have changed."""
        try:
            if await self.shelf.has_changed():
                self._look()
                if await self.shelf.catch_up(self.chat) and self.transcript_stands:
                    await self.draw_anew()
        except BenchtopError as error:
            self.complain(error)
        finally:
            self._following = False

    # The list.

    def compose_list(self) -> ComposeResult:
        if self.bench.settings.conversations.enabled:
            yield ConversationPane(self, self.go_back, dom_id="conversations")

    def _look(self) -> None:
        """Have the list that is in sight look again."""
        for pane in self._find_panes():
            if pane.size.width:
                pane.look()

    def _find_panes(self) -> list[ConversationPane]:
        return [pane for screen in self.app.screen_stack for pane in screen.query(ConversationPane)]

    def action_conversations(self) -> None:
        """To the list beside the chat, or where there is none in sight, to a dialog with it."""
        if self.settings_keep_nothing():
            return
        beside = [pane for pane in self.query(ConversationPane) if pane.size.width]
        if beside:
            beside[0].reach()
        else:
            self.app.push_screen(ConversationsDialog(self))

    def settings_keep_nothing(self) -> bool:
        """Whether conversations are not kept; says so."""
        if self.shelf.store is not None or not self.desk.started:
            return False
        self.notify("Conversations are not kept (conversations.enabled is false).", severity="warning")
        return True

    async def show_conversation(self, conversation: str) -> None:
        try:
            chat = await self.shelf.open(conversation)
        except BenchtopError as error:
            self.complain(error)
            return
        if chat is None:
            self.notify("This conversation is gone: it was deleted.", severity="warning")
            self._look()
        elif chat is not self.chat:
            self._put_away()
            await self.turn_to(chat)

    def rename_conversation(self, line: ConversationLine) -> None:
        self._ask_title(line.id, line.title)

    def _ask_title(self, conversation: str, title: str) -> None:
        from tui.dialogs.ask import Ask

        self.app.push_screen(Ask("Rename the conversation", title, partial(self._rename, conversation)))

    def _rename(self, conversation: str, title: str) -> None:
        self.shelf.rename(conversation, title)
        self._look()

    async def delete_conversation(self, line: ConversationLine) -> None:
        self._deleted.append((line.id, line.title))
        self.shelf.delete(line.id)
        if line.id == self.shown:
            await self.turn_to(Chat())
        self._away = [chat for chat in self._away if chat.tree.id != line.id]
        self._look()
        self.notify(f"Deleted {line.title}; u in the list brings it back.")

    def action_undo_delete(self) -> None:
        self.undo_delete()

    def undo_delete(self) -> None:
        if not self._deleted:
            self.notify("Nothing was deleted.", severity="warning")
            return
        conversation, title = self._deleted.pop()
        self.shelf.bring_back(conversation)
        self._look()
        self.notify(f"{title} is back.")

    # Going to others.

    def _put_away(self) -> None:
        if self.chat.exchanges:
            self._away = [chat for chat in self._away if chat is not self.chat]
            self._away.append(self.chat)

    async def action_new(self) -> None:
        """Nothing is lost: the conversation there is can be had back."""
        if self.chat.exchanges:
            self._put_away()
            self.notify("A new chat; alt+n brings the one before back.")
        await self.turn_to(Chat())

    async def action_before(self) -> None:
        """The conversation put away last; the one there is goes behind all others, so that the key goes round."""
        if not self._away:
            self.notify("There is no other chat.", severity="warning")
            return
        chat = self._away.pop()
        if self.chat.exchanges:
            self._away.insert(0, self.chat)
        await self.turn_to(chat)

    def action_rename(self) -> None:
        if self.chat.exchanges:
            self._ask_title(self.shown, self.chat.tree.title)
        else:
            self.notify("There is no conversation to rename yet.", severity="warning")

    def action_fork(self) -> None:
        """Choose up to where."""
        if self.chat.exchanges:
            self.app.push_screen(ForkDialog(self.chat, self._fork))
        else:
            self.notify("There is no conversation to fork yet.", severity="warning")

    async def _fork(self, exchange: Exchange) -> None:
        tree = self.chat.tree.copy_until(exchange.turn, datetime.now().timestamp())
        self._put_away()
        await self.turn_to(Chat(tree))
        self.keep()
        self.notify("A conversation of its own from here on; alt+n goes back to the one before.")

    # Files.

    def action_export(self) -> None:
        if not self.chat.exchanges:
            self.notify("There is nothing to export yet.", severity="warning")
            return
        from tui.dialogs.ask import Ask

        suggested = Path.cwd() / f"chat-{datetime.now():%Y%m%d-%H%M%S}.md"
        title = "Export the chat to (Markdown; .json for all its branches)"
        self.app.push_screen(Ask(title, str(suggested), self._write_export))

    def _write_export(self, answer: str) -> str | None:
        """Write the file; a sentence where it cannot be."""
        from core.conversations.documents import export_json

        path = expand_home(answer)
        json = path.suffix.lower() == ".json"
        text = export_json([self.chat.tree]) if json else make_printable(self.chat.to_markdown(), lines=True)
        try:
            write_new(path, text)
        except FileExistsError:
            return f"{path} exists already; choose another name."
        except OSError as error:
            return f"{path} cannot be written: {error.strerror}."
        self.notify(f"Exported to {path}")
        return None

    def action_import(self) -> None:
        from tui.dialogs.ask import Ask

        if not self.settings_keep_nothing():
            self.app.push_screen(Ask("Import conversations from (JSON or Markdown)", "", self._begin_import))

    def _begin_import(self, answer: str) -> str | None:
        """A sentence where there is no such file."""
        path, store = expand_home(answer), self.shelf.store
        if store is None:
            return "There is no place for conversations yet; try again in a moment."
        if not has_file(path):
            return f"{path} is no file."
        self.import_conversations(path, store)
        return None

    @work(group="import")
    async def import_conversations(self, path: Path, store: ConversationStore) -> None:
        """Take in what a file holds, which may be large: not on the event loop, which clients wait for too."""
        try:
            number = await asyncio.to_thread(_take_in, path, store)
        except BenchtopError as error:
            self.complain(error)
            return
        self._look()
        self.notify(f"{fmt.format_plural(number, 'conversation')} imported.")


def _take_in(path: Path, store: ConversationStore) -> int:
    """How many conversations the file holds. Touches the disk. Raises BenchtopError."""
    from core.conversations.documents import read_document

    trees = read_document(path)
    store.take_in(trees)
    return len(trees)


class ForkDialog(ModalScreen[None]):
    """The questions of a chat; the one that is chosen is the last of the fork."""

    BINDINGS = [("escape", "dismiss", "Cancel"), ("enter", "choose", "Fork")]

    def __init__(self, chat: Chat, accept: Callable[[Exchange], Awaitable[None]]) -> None:
        super().__init__()
        self._chat = chat
        self._accept = accept

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "fork behind which question"
            dialog.border_subtitle = "enter goes on behind its answer, escape leaves"
            fields = (Field("", 4, right=True), Field("question", 0))
            rows: List[tuple[int, Exchange]] = List(fields, lambda row: row[1].turn.id, _draw_question, head=False)
            rows.show(list(enumerate(self._chat.exchanges, 1)))
            rows.select(self._chat.exchanges[-1].turn.id)
            yield rows

    @on(List.Chosen)
    async def action_choose(self) -> None:
        row = self.query_one(List).row
        self.dismiss()
        if row is not None:
            await self._accept(row[1])


def _draw_question(row: tuple[int, Exchange]) -> tuple[str, str]:
    return str(row[0]), " ".join(row[1].question.split())
