"""The presets: choose one, save the settings there are by a name, rename and delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen

from core.conversations.presets import BUILT_IN_PRESETS, PresetError, PresetShelf
from core.conversations.settings import ChatSettings
from tui import glyphs
from tui.dialogs.ask import Ask
from tui.dialogs.confirm import Confirm
from tui.widgets.plain import Plain
from tui.widgets.row_list import Cell, Field, RowList


class PresetDialog(ModalScreen[None]):
    """`choose` is told the settings of the preset that is taken."""

    BINDINGS = [
        Binding("escape", "dismiss", "Leave it"),
        Binding("enter", "choose", "Choose"),
        Binding("s", "save", "Save"),
        Binding("r", "rename", "Rename"),
        Binding("d,delete", "delete", "Delete"),
    ]

    def __init__(self, shelf: PresetShelf, settings: ChatSettings, choose: Callable[[ChatSettings], None]) -> None:
        """`settings`: those that may be saved."""
        super().__init__()
        self._shelf = shelf
        self._settings = settings
        self._choose = choose
        self._presets: dict[str, ChatSettings] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "presets"
            dialog.border_subtitle = "enter chooses, s saves what is set, r renames, d deletes, escape leaves"
            yield RowList((Field("", 20), Field("", 0)), str, self._cells, head=False, dom_id="presets-list")
            yield Plain(classes="problem")

    def on_mount(self) -> None:
        self._list.focus()
        self.reload()

    @property
    def _list(self) -> RowList[str]:
        return self.query_one("#presets-list", RowList)

    @work(exclusive=True, group="reload")
    async def reload(self, select: str = "") -> None:
        """Read the presets again."""
        problem = ""
        try:
            self._presets = await asyncio.to_thread(self._shelf.list_all)
        except PresetError as error:
            self._presets, problem = dict(BUILT_IN_PRESETS), str(error)
        rows = self._list
        rows.styles.height = max(1, min(len(self._presets), 12))
        rows.show([*self._presets])
        if select:
            rows.select(select)
        self.query_one(".problem", Plain).update(problem)

    def _cells(self, name: str) -> tuple[Cell, Cell]:
        dot = glyphs.find_glyphs(self).dot
        settings = self._presets[name]
        told = [each for each in settings.list_differences() if each != "system prompt"]
        return name, f" {dot} ".join([*told, *([settings.system] if settings.system else [])])

    @on(RowList.Chosen)
    def action_choose(self) -> None:
        if (name := self._list.selected) is not None:
            self.dismiss()
            self._choose(self._presets[name])

    def action_save(self) -> None:
        name = self._list.selected or ""
        self.app.push_screen(Ask("Save these settings as", "" if name in BUILT_IN_PRESETS else name, self._save))

    def _save(self, name: str) -> str | None:
        return self._attempt(lambda: self._shelf.save(name, self._settings))

    def action_rename(self) -> None:
        if (name := self._list.selected) is not None:
            self.app.push_screen(
                Ask("Rename the preset to", name, lambda to: self._attempt(lambda: self._shelf.rename(name, to)))
            )

    def action_delete(self) -> None:
        if (name := self._list.selected) is None:
            return
        if name in BUILT_IN_PRESETS:
            self._tell(self._attempt(lambda: self._shelf.delete(name)))
            return

        def delete() -> None:
            self._tell(self._attempt(lambda: self._shelf.delete(name)))

        self.app.push_screen(Confirm("delete", f"Delete the preset {name}?", {"y": ("Delete", delete)}))

    def _tell(self, problem: str | None) -> None:
        if problem:
            self.query_one(".problem", Plain).update(problem)

    def _attempt(self, change: Callable[[], str | None]) -> str | None:
        """A small file is written; a sentence where it could not be."""
        try:
            name = change()
        except PresetError as error:
            return str(error)
        self.reload(name or "")
        return None
