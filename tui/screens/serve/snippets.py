"""What one pastes elsewhere to use the model that is served: short programs, and lines that launch others."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable, Sequence
from typing import Final, final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen

from api.curl import KEY_VARIABLE
from api.snippets import CodeSnippet, ServedAt, write_snippets
from core.hosts import EVERYWHERE, is_loopback
from core.settings.schema import ServerSettings
from core.snapshots import ModelKind
from tui.launch.program import Launchable
from tui.widgets.plain import Plain
from tui.widgets.row_list import Field, List

FIELDS: Final = (Field("", 0),)


def list_snippets(at: ServedAt, server: ServerSettings, port: int, programs: Iterable[Launchable]) -> list[CodeSnippet]:
    """Those for the model's kind; programs to launch talk with models that chat. `port`: the one that is bound."""
    found = [*write_snippets(at)]
    if at.kind is ModelKind.CHAT:
        found += (CodeSnippet(_title(program), write_launch_line(program, at, server, port)) for program in programs)
    return found


def write_launch_line(program: Launchable, at: ServedAt, server: ServerSettings, port: int) -> str:
    """For a POSIX shell: it finds the server that runs, whatever the settings say there."""
    words = ["tui", "launch", program.name, at.model, "--port", str(port)]
    if server.host not in EVERYWHERE and not is_loopback(server.host):
        words += ["--host", server.host]
    line = shlex.join(words)
    return f"{KEY_VARIABLE}={shlex.quote(at.made_key)} {line}" if at.made_key is not None else line


def _title(program: Launchable) -> str:
    there = "" if shutil.which(program.command) else f" (not installed: {program.install})"
    return f"{program.title}{there}"


@final
class SnippetsDialog(ModalScreen[None]):
    """A list, and the text of the one under the cursor."""

    BINDINGS = [
        Binding("escape,q", "dismiss", "Close"),
        Binding("enter,c,y", "copy", "Copy"),
    ]
    AUTO_FOCUS = "#snippets"

    def __init__(self, snippets: Sequence[CodeSnippet]) -> None:
        super().__init__()
        self._snippets = snippets

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "use it elsewhere"
            dialog.border_subtitle = "enter copies, escape closes"
            yield List[CodeSnippet](FIELDS, _find_title, lambda each: [each.title], head=False, dom_id="snippets")
            with VerticalScroll(id="snippet-scroll"):
                yield Plain(id="snippet")

    def on_mount(self) -> None:
        self._list.styles.height = len(self._snippets)
        self._list.show(self._snippets)

    @property
    def _list(self) -> List[CodeSnippet]:
        return self.query_one("#snippets", List)

    @on(List.Moved)
    def _show(self) -> None:
        if (chosen := self._list.row) is not None:
            self.query_one("#snippet", Plain).update(chosen.text)

    @on(List.Chosen)
    def action_copy(self) -> None:
        if (chosen := self._list.row) is None:
            return
        self.app.copy_to_clipboard(chosen.text)
        self.dismiss()
        self.notify(f"{chosen.title.partition(' (')[0]} is in the clipboard.")


def _find_title(snippet: CodeSnippet) -> str:
    return snippet.title
