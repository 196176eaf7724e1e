"""The conversations that are kept, in a list with a search: beside the chat where there is room, else in a dialog."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Protocol

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, Key, Resize
from textual.screen import ModalScreen
from textual.widgets import Input

from core.errors import BenchtopError
from tui import glyphs
from tui.screens.chat.shelf import ChatsSeen, ConversationShelf
from tui.widgets.plain import Plain
from tui.widgets.row_list import Cell, Field, List

if TYPE_CHECKING:
    from core.conversations.listing import ConversationLine
    from core.conversations.words import Snippet

AGES = ((60.0, "now", 1.0), (3_600.0, "min", 60.0), (86_400.0, "h", 3_600.0), (7 * 86_400.0, "d", 86_400.0))
"""Below so many seconds: the unit, and its seconds."""
LETTERS: Mapping[str, str] = MappingProxyType({"r": "rename", "d": "delete", "delete": "delete", "u": "undo"})
"""What single keys do on the list."""
HINT = "r rename  d delete  u undo"


class ListHost(Protocol):
    """The chat that a list belongs to."""

    @property
    def shelf(self) -> ConversationShelf: ...

    @property
    def shown(self) -> str:
        """The id of the conversation that is shown."""
        ...

    async def show_conversation(self, conversation: str) -> None: ...

    def rename_conversation(self, line: ConversationLine) -> None: ...

    async def delete_conversation(self, line: ConversationLine) -> None: ...

    def undo_delete(self) -> None: ...

    def go_back(self) -> None:
        """To the message."""
        ...


class ConversationRows(List["ConversationLine"]):
    """A line each. Letters act here, and are not typed into the message."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", "Open", show=False)]

    def __init__(self, shown: Callable[[], str]) -> None:
        fields = (Field("", 1), Field("title", 0), Field("changed", 6, right=True, rank=1))
        super().__init__(fields, lambda line: line.id, self._draw_cells, head=False, least=8)
        self._shown = shown

    def _draw_cells(self, line: ConversationLine) -> tuple[Cell, ...]:
        mark = glyphs.find_glyphs(self).dot if line.id == self._shown() else ""
        return mark, line.title, Content.styled(describe_age(time.time() - line.changed), "$quiet")

    def action_choose(self) -> None:
        self.post_message(self.Chosen())

    def on_click(self, event: Click) -> None:
        if event.chain == 1 and event.y + self.scroll_offset.y < len(self.rows):
            self.post_message(self.Chosen())


class ConversationPane(Vertical):
    """Looks at the file when it is told to, and when something is typed into its search."""

    def __init__(self, host: ListHost, leave: Callable[[], None], *, dom_id: str | None = None) -> None:
        """`leave` is what escape does."""
        super().__init__(id=dom_id)
        self._host = host
        self._leave = leave
        self._seen = ChatsSeen((), {})

    def compose(self) -> ComposeResult:
        yield Input(placeholder="search", classes="search", select_on_focus=False)
        yield ConversationRows(lambda: self._host.shown)
        yield Plain(HINT, classes="found")

    @property
    def rows(self) -> ConversationRows:
        return self.query_one(ConversationRows)

    def reach(self) -> None:
        """Take the focus."""
        self.query_one(Input).focus()

    @work(group="look", exclusive=True)
    async def look(self, *, fresh: bool = False) -> None:
        """See what there is now; the cursor goes to the first line if `fresh`."""
        query = self.query_one(Input).value
        try:
            self._seen = await self._host.shelf.see(query)
        except BenchtopError as error:
            self.query_one(".found", Plain).update(str(error))
            return
        self.rows.show(self._seen.lines, fresh=fresh)
        self._tell_found()

    def on_resize(self, event: Resize) -> None:
        """Where it comes into sight."""
        if event.size.width:
            self.look()

    @on(Input.Changed)
    def search(self, event: Input.Changed) -> None:
        event.stop()
        self.look(fresh=True)

    @on(Input.Submitted)
    async def open_first(self, event: Input.Submitted) -> None:
        event.stop()
        await self._choose()

    @on(ConversationRows.Chosen)
    async def open_chosen(self, event: ConversationRows.Chosen) -> None:
        event.stop()
        await self._choose()

    async def _choose(self) -> None:
        if (line := self.rows.row) is not None:
            self._leave()
            await self._host.show_conversation(line.id)
            self.rows.refresh()

    @on(ConversationRows.Moved)
    def _tell_found(self) -> None:
        """What was found in the conversation under the cursor."""
        line, words = self.rows.row, self.query_one(Input).value.strip()
        if line is None:
            told: str | Content = "Nothing has these words." if words else "No conversation is kept yet."
        elif (found := self._seen.snippets.get(line.id)) is not None:
            told = _mark_words(found.snippet)
        else:
            told = HINT
        self.query_one(".found", Plain).update(told)

    async def on_key(self, event: Key) -> None:
        action = self._find_action(event)
        if action is not None:
            event.stop()
            event.prevent_default()
            if (done := action()) is not None:
                await done

    def _find_action(self, event: Key) -> Callable[[], Awaitable[None] | None] | None:
        if event.key == "escape":
            return self._go_back
        if not self.rows.has_focus:
            return self._reach_rows if event.key == "down" else None
        line = self.rows.row
        match LETTERS.get(event.key):
            case "undo":
                return self._host.undo_delete
            case "rename" if line is not None:
                return lambda: self._host.rename_conversation(line)
            case "delete" if line is not None:
                return lambda: self._host.delete_conversation(line)
        if event.key in ("j", "k"):
            return lambda: self.rows.action_move(1 if event.key == "j" else -1)
        if event.key == "slash" or (event.key == "up" and self.rows.at == 0):
            return self.reach
        return None

    def _reach_rows(self) -> None:
        self.rows.focus()

    def _go_back(self) -> None:
        """From the words of a search to all conversations, then away."""
        field = self.query_one(Input)
        if field.value:
            field.value = ""
        else:
            self._leave()


class ConversationsDialog(ModalScreen[None]):
    """The list where there is no room for it beside the chat."""

    def __init__(self, host: ListHost) -> None:
        super().__init__()
        self._host = host

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "conversations"
            dialog.border_subtitle = "enter opens, escape leaves"
            yield ConversationPane(self._host, self._close)

    def on_mount(self) -> None:
        self.query_one(ConversationPane).reach()

    def _close(self) -> None:
        self.dismiss()


def describe_age(seconds: float) -> str:
    """How long ago, in six signs at most."""
    for below, unit, each in AGES:
        if seconds < below:
            return unit if each == 1.0 else f"{int(seconds / each)} {unit}"
    if seconds < 365 * 86_400:
        return f"{int(seconds / (7 * 86_400))} wk"
    return f"{int(seconds / (365 * 86_400))} yr"


def _mark_words(snippet: Snippet) -> Content:
    """With the words that were found set off. What would be obeyed or not seen is left to the widget."""
    if not snippet.text:
        return Content("in its title")
    pieces, at = [], 0
    for start, end in snippet.marks:
        pieces += [(snippet.text[at:start], ""), (snippet.text[start:end], "$primary bold")]
        at = end
    return Content.assemble(*pieces, (snippet.text[at:], ""))
