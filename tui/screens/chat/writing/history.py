"""Messages that were sent before, which up and down walk through. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MOST_KEPT_MESSAGES: Final = 1000


class MessageHistory:
    """Behind the newest message stands the draft; what was changed on the way stays changed until a message is sent."""

    def __init__(self, messages: Iterable[str] = ()) -> None:
        """The oldest first."""
        self._messages: list[str] = []
        self._changed: dict[int, str] = {}
        """Texts that differ from the messages, by their index; that of the draft is the number of messages."""
        self._at = 0
        self.put_before(messages)

    @property
    def messages(self) -> tuple[str, ...]:
        return tuple(self._messages)

    def put_before(self, messages: Iterable[str]) -> None:
        """Messages that are older than those there are, the oldest first."""
        older = [message for message in messages if message.strip()]
        kept: list[str] = []
        for message in (*older, *self._messages):
            if not kept or kept[-1] != message:
                kept.append(message)
        self._reset(kept)

    def bring_to_end(self, messages: Iterable[str]) -> None:
        """Messages of the conversation that is gone on with, the oldest first: the walk comes to them first."""
        nearest = [message for message in messages if message.strip()]
        self._messages = [message for message in self._messages if message not in set(nearest)]
        before, self._messages = self._messages, nearest
        self.put_before(before)

    def add(self, message: str) -> None:
        """A message was sent: the walk begins anew behind it."""
        if message.strip() and self._messages[-1:] != [message]:
            self._messages.append(message)
        self._reset(self._messages)

    def go_back(self, current: str) -> str | None:
        """The message before the one that is shown, as `current` by now; None at the oldest."""
        return self._go(-1, current)

    def go_on(self, current: str) -> str | None:
        """The one after it, the draft in the end; None behind that."""
        return self._go(1, current)

    def _go(self, by: int, current: str) -> str | None:
        target = self._at + by
        if not 0 <= target <= len(self._messages):
            return None
        self._changed[self._at] = current
        self._at = target
        return self._changed.get(target, self._messages[target] if target < len(self._messages) else "")

    def _reset(self, messages: list[str]) -> None:
        self._messages = messages[-MOST_KEPT_MESSAGES:]
        self._changed.clear()
        self._at = len(self._messages)
