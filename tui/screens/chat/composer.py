"""The field a message is written in: enter sends, ctrl+j breaks the line, up and down walk through earlier messages."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.widgets import TextArea

from tui.screens.chat.writing.files import find_fragment, write_fragment
from tui.screens.chat.writing.history import MessageHistory

LONG_PASTE_LINES = 25
"""From which a paste is no text for a field of a few lines."""
LONG_PASTE_CHARACTERS = 3000
STEERING = frozenset({"up", "down", "tab", "enter", "escape"})
"""Keys that choose among the files that are offered."""


class Composer(TextArea):
    """Keeps its text until somebody clears it. It knows nothing of what is attached to the message."""

    BINDINGS = [Binding("ctrl+j,shift+enter", "newline", "New line", show=False)]

    class Entered(Message):
        """The message is to be sent as it stands, which may be empty."""

    class Paged(Message):
        """Page up or down was pressed: the conversation, not the field, should move."""

        def __init__(self, down: bool) -> None:
            super().__init__()
            self.down = down

    class PastedLong(Message):
        """More was pasted than can be read in a field; it is not in the text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Mentioning(Message):
        """The cursor has come to a word that begins with `@`, to another place in it, or, with None, out of it."""

        def __init__(self, fragment: str | None) -> None:
            super().__init__()
            self.fragment = fragment

    class Steered(Message):
        """A key for the files that are offered."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    class Backed(Message):
        """Something was to be deleted before the beginning of the message."""

    def __init__(self, *, placeholder: str, dom_id: str | None = None) -> None:
        super().__init__(
            id=dom_id, placeholder=placeholder, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False
        )
        self.mentioned: str | None = None
        """What stands behind the `@` at the cursor."""
        self.earlier = MessageHistory()
        self.offering = False
        """Whether files are offered, or looked for, so that some keys are for these."""

    def on_mount(self) -> None:
        self.cursor_blink = self.app.animation_level != "none"

    def takes(self, event: events.Key) -> bool:
        """Whether the key writes something, wherever it was pressed."""
        return event.is_printable and not event.key.startswith(("alt+", "ctrl+"))

    def write(self, text: str) -> None:
        """Take the focus, and what was typed while something else had it."""
        self.focus()
        self.insert(text)

    def paste(self, text: str) -> None:
        """Take the focus, and what was pasted wherever it was."""
        self.focus()
        if text.count("\n") >= LONG_PASTE_LINES or len(text) >= LONG_PASTE_CHARACTERS:
            self.post_message(self.PastedLong(text))
        elif result := self._replace_via_keyboard(text, *self.selection):
            self.move_cursor(result.end_location)

    def set_text(self, text: str) -> None:
        """Another text in place of the one there, which undo brings back."""
        self.replace(text, (0, 0), self.document.end)
        self.move_cursor(self.document.end)

    def complete(self, text: str) -> None:
        """Put a folder's path in place of what stands behind the `@` at the cursor."""
        self._replace_mention(write_fragment(text))

    def take_mention(self) -> None:
        """Drop the word with the `@` at the cursor: what it means is elsewhere now."""
        self._replace_mention("")

    def _replace_mention(self, by: str) -> None:
        row, column = self.cursor_location
        fragment = find_fragment(self.document.get_line(row)[:column])
        if fragment is not None:
            self.replace(by, (row, column - len(write_fragment(fragment))), (row, column))

    async def _on_key(self, event: events.Key) -> None:
        if self.offering and event.key in STEERING:
            event.stop()
            event.prevent_default()
            self.post_message(self.Steered(event.key))
            return
        if event.key.startswith("alt+"):
            # The letter that comes with it means a command, if anything.
            event.prevent_default()
        elif event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Entered())

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.paste(event.text)

    def on_text_area_changed(self) -> None:
        self._look_for_mention()

    def on_text_area_selection_changed(self) -> None:
        self._look_for_mention()

    def _look_for_mention(self) -> None:
        row, column = self.cursor_location
        fragment = find_fragment(self.document.get_line(row)[:column]) if self.selection.is_empty else None
        if fragment != self.mentioned:
            self.mentioned = fragment
            self.post_message(self.Mentioning(fragment))

    def action_newline(self) -> None:
        self.insert("\n")

    def action_delete_left(self) -> None:
        if self.cursor_location == (0, 0) and self.selection.is_empty:
            self.post_message(self.Backed())
        else:
            super().action_delete_left()

    def action_cursor_up(self, select: bool = False) -> None:
        if not select and self.navigator.is_first_wrapped_line(self.cursor_location):
            if (text := self.earlier.go_back(self.text)) is not None:
                self.set_text(text)
                self.move_cursor((0, len(self.document.get_line(0))))
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        if not select and self.navigator.is_last_wrapped_line(self.cursor_location):
            if (text := self.earlier.go_on(self.text)) is not None:
                self.set_text(text)
        else:
            super().action_cursor_down(select)

    def action_cursor_page_up(self) -> None:
        self.post_message(self.Paged(down=False))

    def action_cursor_page_down(self) -> None:
        self.post_message(self.Paged(down=True))
