"""The conversations that a chat has in hand: the one that is shown and those that were put away, each kept as it grows.
Knows no widgets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from core.conversations.tree import clip_title
from tui.screens.chat.conversation import Chat

if TYPE_CHECKING:
    from core.conversations.keeper import ConversationKeeper
    from core.conversations.listing import ConversationLine, FoundConversation
    from core.conversations.store import ConversationStore
    from tui.session import Desk


MOST_HELD_CHATS = 50
"""Chats in memory; of more, the one that was opened longest ago is read again when it is wanted."""


class ChatsSeen(Struct, frozen=True):
    """What a look at the file found."""

    lines: tuple[ConversationLine, ...]
    """All of them, the ones that were changed last first; while words are searched for, those that have them."""
    snippets: dict[str, FoundConversation]
    """By the ids of those lines."""


class ConversationShelf:
    """Everything here is for the app's event loop; what waits for the disk is awaited."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._keepers: dict[str, tuple[Chat, ConversationKeeper]] = {}
        """Of chats in memory, by their conversation's id."""
        self._revision = -1
        self._told: set[str] = set()

    @property
    def store(self) -> ConversationStore | None:
        """None where conversations are not kept, and before there is a workbench."""
        return self._desk.workbench.conversations if self._desk.started else None

    def keep(self, chat: Chat) -> None:
        """Have the file know what is new of a chat. Costs little where nothing is."""
        if chat.exchanges and (keeper := self._find_keeper(chat)) is not None:
            keeper.keep()

    def keep_all(self) -> None:
        """The same of all chats in memory."""
        for _, keeper in self._keepers.values():
            keeper.keep()

    async def settle(self, chat: Chat) -> None:
        """Keep a chat, and wait for the disk, a second at most."""
        self.keep(chat)
        if self.store is not None:
            await asyncio.to_thread(self.store.flush)

    async def open(self, conversation: str) -> Chat | None:
        """A conversation as it is kept, or as it is in memory; None where it is gone. Raises BenchtopError."""
        if (known := self._keepers.pop(conversation, None)) is not None:
            self._hold(*known)
            return known[0]
        if self.store is None or (keeper := await asyncio.to_thread(self.store.open, conversation)) is None:
            return None
        chat = Chat(keeper.tree)
        self._hold(chat, keeper)
        return chat

    async def open_last(self) -> Chat | None:
        """The one that was changed last; None where there is none. Raises BenchtopError."""
        if self.store is None:
            return None
        lines = await asyncio.to_thread(self.store.list_lines)
        return await self.open(lines[0].id) if lines else None

    async def see(self, query: str) -> ChatsSeen:
        """The list; those that have the words of a query where there is one. Raises BenchtopError."""
        if self.store is None:
            return ChatsSeen((), {})
        if not query.strip():
            return ChatsSeen(tuple(await asyncio.to_thread(self.store.list_lines)), {})
        found = await asyncio.to_thread(self.store.search, query)
        return ChatsSeen(tuple(each.line for each in found), {each.line.id: each for each in found})

    def has_moved(self) -> bool:
        """Whether somebody, this program too, has written to the file since this was asked last."""
        return self.store is not None and self.store.has_moved()

    async def has_changed(self) -> bool:
        """Whether the list may be another one since this was asked last. Raises BenchtopError."""
        if self.store is None:
            return False
        revision = await asyncio.to_thread(self.store.read_revision)
        changed, self._revision = revision != self._revision, revision
        return changed

    async def catch_up(self, chat: Chat) -> bool:
        """Take over what other programs have added to a chat; whether what is shown of it is another. Raises
        BenchtopError."""
        known = self._keepers.get(chat.tree.id)
        if known is None or known[0] is not chat or self.store is None:
            return False
        before = [(each.version.id, each.version.text) for each in chat.exchanges]
        kept = await asyncio.to_thread(self.store.read, chat.tree.id)
        deleted = kept is None and await asyncio.to_thread(self.store.is_deleted, chat.tree.id)
        if not known[1].take_over(kept, deleted=deleted):
            return False
        chat.read_path()
        return before != [(each.version.id, each.version.text) for each in chat.exchanges]

    def rename(self, conversation: str, title: str) -> None:
        """Give a conversation a title that stays."""
        title = clip_title(title)
        if (known := self._keepers.get(conversation)) is not None:
            known[0].tree.title, known[0].tree.renamed = title, True
            known[1].keep()
        elif self.store is not None:
            self.store.rename(conversation, title)

    def delete(self, conversation: str) -> None:
        """Take it out of the list; `bring_back` undoes that."""
        if (known := self._keepers.get(conversation)) is not None:
            known[1].stop()
        if self.store is not None:
            self.store.delete((conversation,))

    def bring_back(self, conversation: str) -> None:
        """Undo `delete`."""
        if self.store is not None:
            self.store.bring_back((conversation,))
        if (known := self._keepers.get(conversation)) is not None:
            known[1].go_on()
            known[1].keep()

    def tend(self) -> None:
        """At the start: forget what was deleted long ago, and see to what killed programs have left."""
        if self.store is not None:
            self.store.purge()

    def list_troubles(self) -> list[str]:
        """Sentences on what hinders the keeping, each once until that is over."""
        if self.store is None:
            return []
        troubles = {each for each in (self.store.trouble, self.store.damaged) if each is not None}
        news = sorted(troubles - self._told)
        self._told = troubles
        return news

    def _find_keeper(self, chat: Chat) -> ConversationKeeper | None:
        known = self._keepers.get(chat.tree.id)
        # Of a chat that was let go and read again there may be two; what was said in either is kept.
        if known is not None and known[0] is chat:
            return known[1]
        if self.store is None:
            return None
        keeper = self.store.begin(chat.tree)
        self._hold(chat, keeper)
        return keeper

    def _hold(self, chat: Chat, keeper: ConversationKeeper) -> None:
        self._keepers[chat.tree.id] = chat, keeper
        if len(self._keepers) > MOST_HELD_CHATS:
            del self._keepers[next(iter(self._keepers))]
