"""The themes there are: each is worn while the cursor is on it; enter keeps it, escape goes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, cast, final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.worker import Worker

from tui.dialogs.ask import Ask
from tui.widgets.plain import Plain
from tui.widgets.row_list import Field, List

SETTLE_SECONDS: Final = 0.12
"""The cursor may run over a theme without its being drawn, which takes a while."""
MOST_LISTED_THEMES: Final = 14
FIELDS: Final = (Field("", 0),)
OWN_HINT: Final = "w writes a copy into the folder `themes` beside the config, to be changed; r reads them again."


class Wearer(Protocol):
    """What this dialog needs of the app."""

    theme: str

    def copy_theme(self, name: str, called: str) -> str | None:
        """Write a theme as one of the user's own; a sentence where that cannot be."""
        ...

    async def use_theme(self, name: str) -> None:
        """Wear a theme from now on, and at the next start."""
        ...


@final
class ThemeDialog(ModalScreen[None]):
    """Below the list stands where one's own themes are kept."""

    BINDINGS = [
        Binding("escape,q", "go_back", "Go back"),
        Binding("enter", "keep", "Keep it"),
        Binding("r", "reload", "Read the user's own again"),
        Binding("w", "copy", "Write a copy to change"),
    ]
    AUTO_FOCUS = "#themes"

    def __init__(self, worn: str, reload: Callable[[], Worker[None]]) -> None:
        """`reload` reads the user's own and those of plugins."""
        super().__init__()
        self._worn = worn
        self._reload = reload
        self._settling: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "themes"
            dialog.border_subtitle = "enter keeps it, escape goes back"
            yield List[str](FIELDS, str, lambda name: [name], head=False, dom_id="themes")
            yield Plain(OWN_HINT, classes="hint")

    def on_mount(self) -> None:
        self._list.show(self._list_names())
        self._list.select(self._worn)

    @property
    def _list(self) -> List[str]:
        return self.query_one("#themes", List)

    @property
    def _wearer(self) -> Wearer:
        return cast("Wearer", self.app)

    def _list_names(self) -> list[str]:
        """Textual's own behind ours."""
        from themes import PALETTES

        others = sorted(name for name in self.app.available_themes if name not in PALETTES)
        names = [*PALETTES, *others]
        self._list.styles.height = min(len(names), MOST_LISTED_THEMES)
        return names

    @on(List.Moved)
    def _look(self) -> None:
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(SETTLE_SECONDS, self._wear)

    def _wear(self) -> None:
        name = self._list.row
        if name is not None and name != self._wearer.theme:
            self._wearer.theme = name

    @on(List.Chosen)
    async def action_keep(self) -> None:
        name = self._list.row
        if self._settling is not None:
            self._settling.stop()
        self.dismiss()
        if name is not None:
            await self._wearer.use_theme(name)

    def action_go_back(self) -> None:
        if self._settling is not None:
            self._settling.stop()
        self.dismiss()
        if self._wearer.theme != self._worn:
            self._wearer.theme = self._worn

    def on_screen_resume(self) -> None:
        """One that was written meanwhile is in the list."""
        if self._list.rows:
            self.run_worker(self.action_reload())

    def action_copy(self) -> None:
        name = self._list.row
        if name is not None:
            self.app.push_screen(
                Ask(f"Copy {name} as", f"{name}-own", lambda called: self._wearer.copy_theme(name, called))
            )

    async def action_reload(self) -> None:
        await self._reload().wait()
        self._list.show(self._list_names())
