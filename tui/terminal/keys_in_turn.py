"""An app that finishes with each key before it looks at the next, so that keys typed ahead go where they were meant to:
into the field that the key before has focused, the dialog that it has opened, the screen that it has switched to.

Textual sends a key to the widget that has the focus when the key arrives. In a burst, the later keys arrive before the
first one has moved the focus, and would act as commands where they were meant as text.
"""

from __future__ import annotations

import asyncio
from collections import deque

from textual import events
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen

from tui.unbreakable import UnbreakableApp

PATIENCE_SECONDS = 1.0
"""How long keys wait for the one before them: a widget that is stuck must not make all others deaf. All that wait are
sent then, as none can know what became of that one."""
PATIENCE_TICKS = 10
"""Parts of that time: where the whole machine is slow, and not one widget stuck, each takes longer, so keys stay in
turn."""

ROUNDS = 3
"""How often a key is followed: it may make a field post a message, whose handler posts another that moves the focus."""


class KeyPassed(Message):
    """Follows a key through all the queues that the key goes through, and reaches the app behind it."""

    def __init__(self, number: int, screen: Screen[object], target: MessagePump, rounds: int) -> None:
        """`screen` was the one in sight when this was posted to `target`, so often by now."""
        super().__init__()
        self.number = number
        self.screen = screen
        self.target = target
        self.rounds = rounds


class KeysInTurn(UnbreakableApp):
    """Holds keys and pastes back while an earlier one is on its way, save those that quit the app."""

    def __init__(self) -> None:
        super().__init__()
        self._held: deque[events.Key | events.Paste] = deque()
        self._number = 0
        """Of the key that was sent last."""
        self._patience: asyncio.TimerHandle | None = None
        """Runs while that key is on its way."""

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key | events.Paste) or event.is_forwarded or self._is_urgent(event):
            await super().on_event(event)
        else:
            self._held.append(event)
            await self._send_next()

    def _is_urgent(self, event: events.Key | events.Paste) -> bool:
        """Whether it is for the app itself, whatever has the focus."""
        bindings = self._bindings.key_to_bindings.get(event.key, ()) if isinstance(event, events.Key) else ()
        return any(binding.priority for binding in bindings)

    async def send_key(self, event: events.Key | events.Paste) -> None:
        """Send a key, whose turn it is, to the widget that has the focus."""
        await super().on_event(event)

    async def _send_next(self) -> None:
        # An app that ends has no screen any more.
        if self._patience is not None or not self._held or not self.screen_stack:
            return
        event, screen, target = self._held.popleft(), self.screen, self.focused or self.screen
        self._number += 1
        self._wait(PATIENCE_TICKS, self._number)
        await self.send_key(event)
        self._follow(target, screen)

    def _follow(self, target: MessagePump, screen: Screen[object], rounds: int = 1) -> None:
        if not target.post_message(KeyPassed(self._number, screen, target, rounds)):
            self.call_later(self._go_on, self._number)

    def on_key_passed(self, event: KeyPassed) -> None:
        # Widgets take the focus by a callback of the app, which by now stands in its queue.
        self.call_later(self._settle, event)

    async def _settle(self, passed: KeyPassed) -> None:
        if passed.number != self._number or not self.screen_stack:
            return
        if self.screen is not passed.screen:
            # The key has brought up another screen, which has its fields only once it is composed.
            self._follow(self.screen, self.screen)
        elif passed.rounds < ROUNDS:
            self._follow(passed.target, self.screen, passed.rounds + 1)
        else:
            await self._go_on(passed.number)

    def _wait(self, ticks: int, number: int) -> None:
        """Let so many parts of the time pass. Between two of them the app comes to all messages that are there."""
        seconds = PATIENCE_SECONDS / PATIENCE_TICKS
        self._patience = asyncio.get_running_loop().call_later(seconds, self.call_later, self._tick, ticks - 1, number)

    async def _tick(self, ticks: int, number: int) -> None:
        if number == self._number and self._patience is not None:
            if ticks:
                self._wait(ticks, number)
            else:
                await self._lose_patience(number)

    async def _lose_patience(self, number: int) -> None:
        waiting, self._held = self._held, deque()
        for event in waiting:
            await self.send_key(event)
        await self._go_on(number)

    async def _go_on(self, number: int) -> None:
        if number == self._number and self._patience is not None:
            self._patience.cancel()
            self._patience = None
            await self._send_next()
