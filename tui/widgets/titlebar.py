"""The line that never leaves: the screens' names, the server, the model and what it is doing."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.message import Message
from textual.widgets import Static

from core.snapshots import ModelSnapshot, ModelState
from tui import format as fmt
from tui import glyphs
from tui.actions.screens import SCREENS
from tui.widgets.plain import Plain

LEAST_MODEL_CELLS, MOST_MODEL_CELLS = 14, 44
"""Of a model with its state."""
TABS_CELLS = sum(len(name) + 4 for name in SCREENS)
BRAND_CELLS = 11
SERVING_CELLS = 13
BLANK_CELLS = 4
"""Beside the model and the server."""
BRAND_COLUMNS = 72
"""Columns of a terminal from which there is room for the name of the program."""
_STYLES = {
    ModelState.READY: "$gauge-ok",
    ModelState.LOADING: "$gauge-warn",
    ModelState.RESTARTING: "$gauge-warn",
    ModelState.BROKEN: "$gauge-full",
    ModelState.FAILED: "$gauge-full",
}


class Tab(Plain):
    """A screen's name with its key."""

    ALLOW_SELECT = False

    class Chosen(Message):
        def __init__(self, screen_name: str) -> None:
            super().__init__()
            self.screen_name = screen_name

    def __init__(self, number: int, screen_name: str, *, active: bool) -> None:
        super().__init__(
            Content.assemble((str(number), "$primary" if not active else ""), f" {screen_name}"),
            classes="tab -active" if active else "tab",
        )
        self.screen_name = screen_name

    def on_click(self) -> None:
        self.post_message(self.Chosen(self.screen_name))


class TitleBar(Horizontal):
    """Composed on every screen, so that each draws its own active tab once."""

    def __init__(self, active: str) -> None:
        super().__init__()
        self._active = active
        self._shown: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        yield Plain("benchtop", classes="brand")
        for number, name in enumerate(SCREENS, 1):
            yield Tab(number, name, active=name == self._active)
        yield Plain(id="serving")
        yield Plain(id="model")

    def on_resize(self, event: Resize) -> None:
        """What the model does must be readable; whose terminal it is on is known."""
        self.query_one(".brand").display = event.size.width >= BRAND_COLUMNS

    def show(
        self, name: str, model: ModelSnapshot | None, url: str | None, failed: bool, *, unloaded: bool = False
    ) -> None:
        """Draw the state of the model in use and of the server, where it changed. `unloaded`: there is none, and none
        is on its way."""
        marks = glyphs.find_glyphs(self)
        state = ModelState.FAILED if failed else model.state if model is not None else None
        room = measure_room(self.app.size.width, serving=url is not None)
        wanted = (name, state, url, marks, unloaded, room)
        if wanted == self._shown:
            return
        self._shown = wanted
        word = state.value if state is not None else "unloaded" if unloaded else "starting"
        style = _STYLES[state] if state is not None else "$quiet"
        down = state is not None and state.is_down
        mark = marks.running if state is ModelState.READY else marks.no if down else marks.idle
        label = Content.assemble(
            fmt.clip_text(name.rsplit("/", 1)[-1], room - len(word) - 3, marks.cut),
            " ",
            (f"{mark} {word}", style),
        )
        self.query_one("#model", Static).update(label)
        port = url.rsplit(":", 1)[-1].split("/")[0] if url else ""
        serving = Content.styled(f"serving :{port}", "$gauge-ok") if port else Content("")
        self.query_one("#serving", Static).update(serving)


def measure_room(columns: int, *, serving: bool) -> int:
    """Cells for the model and its state."""
    left = columns - TABS_CELLS - BLANK_CELLS
    left -= BRAND_CELLS if columns >= BRAND_COLUMNS else 0
    left -= SERVING_CELLS if serving else 0
    return min(MOST_MODEL_CELLS, max(LEAST_MODEL_CELLS, left))
