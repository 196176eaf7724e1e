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
        self._arrange([*messages, *self._messages])

    def bring_to_end(self, messages: Iterable[str]) -> None:
        """Messages of the conversation that is gone on with, the oldest first: the walk comes to them first."""
        nearest = [*messages]
        known = set(nearest)
        self._arrange([*(message for message in self._messages if message not in known), *nearest])

    def add(self, message: str) -> None:
        """A message was sent: the walk begins anew behind it."""
        self._changed.clear()
        self._arrange([*self._messages, message])

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

    def _arrange(self, messages: Iterable[str]) -> None:
        """These are the messages now. A draft that was left for one of them stays behind them all."""
        shown, draft = self._messages[self._at : self._at + 1], self._changed.get(len(self._messages))
        kept: list[str] = []
        for message in messages:
            if message.strip() and kept[-1:] != [message]:
                kept.append(message)
        self._messages = kept[-MOST_KEPT_MESSAGES:]
        self._changed.clear()
        self._at = len(self._messages)
        if draft and shown and shown[0] in self._messages:
            self._changed[self._at] = draft
            self._at = self._messages.index(shown[0])
