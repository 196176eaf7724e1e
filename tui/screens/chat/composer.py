"""The field a message is written in: enter sends, ctrl+j breaks the line, and an empty field lets digits through."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.widgets import TextArea

from tui.actions.screens import SCREENS

PASSED_ON = frozenset({*(str(number) for number, _ in enumerate(SCREENS, 1)), "question_mark"})
"""Keys that act on the app while nothing is written yet; all of them can be taken back."""


class Composer(TextArea):
    """Posts `Sent` with the message, stripped; never an empty one. It keeps its text until the screen clears it."""

    BINDINGS = [Binding("ctrl+j,shift+enter", "newline", "New line", show=False)]

    class Sent(Message):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Paged(Message):
        """Page up or down was pressed: the conversation, not the field, should move."""

        def __init__(self, down: bool) -> None:
            super().__init__()
            self.down = down

    def __init__(self, *, placeholder: str, dom_id: str | None = None) -> None:
        super().__init__(
            id=dom_id, placeholder=placeholder, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False
        )
        self._was_empty = True

    def on_mount(self) -> None:
        self.cursor_blink = self.app.animation_level != "none"

    def takes(self, event: events.Key) -> bool:
        """Whether the key writes something, wherever it was pressed."""
        if event.key.startswith(("alt+", "ctrl+")):
            return False
        return event.is_printable and not (event.key in PASSED_ON and not self.text)

    def write(self, text: str) -> None:
        """Take the focus, and what was typed or pasted while something else had it."""
        self.focus()
        self.insert(text)

    def check_consume_key(self, key: str, character: str | None = None) -> bool:
        if key in PASSED_ON and not self.text:
            return False
        return super().check_consume_key(key, character)

    async def _on_key(self, event: events.Key) -> None:
        if event.key in PASSED_ON and not self.text:
            event.prevent_default()
            return
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            if text := self.text.strip():
                self.post_message(self.Sent(text))

    def on_text_area_changed(self) -> None:
        if self._was_empty != (not self.text):
            self._was_empty = not self.text
            self.refresh_bindings()

    def action_newline(self) -> None:
        self.insert("\n")

    def action_cursor_page_up(self) -> None:
        self.post_message(self.Paged(down=False))

    def action_cursor_page_down(self) -> None:
        self.post_message(self.Paged(down=True))
