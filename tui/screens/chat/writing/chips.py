"""What is attached to a message: a chip for each text, which can be opened and removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.events import Click
from textual.message import Message
from textual.screen import ModalScreen

from core.conversations.attachments import Attachment
from core.sizes import format_size
from tui import format as fmt
from tui import glyphs
from tui.widgets.plain import Plain, make_drawable
from tui.widgets.row_list import Field, List

NAME_CHARACTERS: Final = 28
FEWEST_CHARACTERS: Final = 20
"""Of a line of an opened text, after which it goes on in the next one."""
MOST_SHOWN_LINES: Final = 50_000


def describe_attachment(attachment: Attachment, dot: str, cut: str = "…") -> str:
    """Its name, or how long a paste is, and its tokens, where they were counted."""
    name = (
        fmt.clip_text(attachment.name, NAME_CHARACTERS, cut) or f"pasted {fmt.format_plural(attachment.lines, 'line')}"
    )
    if attachment.tokens is None:
        return f"{name} {dot} {format_size(len(attachment.text.encode(errors='replace')))}"
    return f"{name} {dot} {fmt.format_count(attachment.tokens)} tok"


class Chip(Plain, can_focus=True):
    """One attachment. Enter or a click opens it, delete or a click on its cross removes it."""

    ALLOW_SELECT = False
    BINDINGS = [
        Binding("enter", "open", "Open"),
        Binding("delete,backspace", "remove", "Remove"),
        Binding("left", "app.focus_previous", show=False),
        Binding("right", "app.focus_next", show=False),
    ]

    class Removed(Message):
        def __init__(self, chip: Chip) -> None:
            super().__init__()
            self.chip = chip

    def __init__(self, attachment: Attachment) -> None:
        super().__init__(classes="chip")
        self.attachment = attachment
        self.note = ""
        """What is wrong with it, in place of the number of its tokens."""

    def on_mount(self) -> None:
        self.draw()

    def draw(self) -> None:
        marks = glyphs.find_glyphs(self)
        words = describe_attachment(self.attachment, marks.dot, marks.cut)
        self.update(f"{words}{f' {marks.dot} {self.note}' if self.note else ''} {marks.no}")

    def on_click(self, event: Click) -> None:
        event.stop()
        if event.x >= self.size.width - 3:
            self.action_remove()
        else:
            self.action_open()

    def action_open(self) -> None:
        self.app.push_screen(OpenedText(self.attachment, self.action_remove))

    def action_remove(self) -> None:
        self.post_message(self.Removed(self))


class OpenedText(ModalScreen[None]):
    """What is attached, line by line."""

    BINDINGS = [Binding("escape,enter,q", "dismiss", "Close"), Binding("delete,backspace", "remove", "Remove")]

    def __init__(self, attachment: Attachment, remove: Callable[[], None] | None = None) -> None:
        """`remove` takes it away again, where that is still possible."""
        super().__init__()
        self._attachment = attachment
        self._remove = remove

    def compose(self) -> ComposeResult:
        marks = glyphs.find_glyphs(self)
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = make_drawable(
                describe_attachment(self._attachment, marks.dot, marks.cut), lines=False
            )
            keys = "delete removes it, escape closes" if self._remove else "escape closes"
            dialog.border_subtitle = make_drawable(keys, lines=False)
            yield List((Field("", 6, right=True), Field("", 0)), _key, _cells, head=False, dom_id="opened")

    def on_mount(self) -> None:
        self.query_one("#opened", List).focus()
        self.call_after_refresh(self._fill)

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        rows = self.query_one("#opened", List)
        lines = _wrap_lines(self._attachment.text, max(FEWEST_CHARACTERS, rows.room))
        rows.show([*islice(lines, MOST_SHOWN_LINES)])

    def action_remove(self) -> None:
        if self._remove is not None:
            self.dismiss()
            self._remove()


class _TextLine(NamedTuple):
    number: int
    part: int
    """Zero where it begins."""
    text: str


def _key(line: _TextLine) -> str:
    return f"{line.number}.{line.part}"


def _cells(line: _TextLine) -> tuple[str, str]:
    return "" if line.part else str(line.number), line.text


def _wrap_lines(text: str, width: int) -> Iterator[_TextLine]:
    """Long lines in parts: the list has a row for each."""
    for number, line in enumerate(text.split("\n"), 1):
        whole = line.expandtabs(4)
        for part, at in enumerate(range(0, max(1, len(whole)), width)):
            yield _TextLine(number, part, whole[at : at + width])
