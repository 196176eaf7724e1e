"""What the panes of the bench screen that measure on their own have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Input, Static

from core.bench.documents import ExportFormat
from core.files import write_new
from tui import glyphs
from tui.session import Desk
from tui.widgets.plain import Plain

NOTHING_TO_EXPORT = "There is nothing to export yet; press s to measure."


class MeasuringPane(Vertical):
    """Fields, a start button `#KEY-start`, a line `#KEY-wrong`, a table, and a line `#KEY-standing`."""

    KEY = ""

    def __init__(self, desk: Desk, *, dom_id: str) -> None:
        super().__init__(id=dom_id)
        self._desk = desk

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether a run is under way."""

    @abstractmethod
    def toggle(self) -> None:
        """Start a run, or stop the one there is."""

    @abstractmethod
    def write(self) -> None:
        """Write all that is shown into files."""

    def draw(self) -> None:
        """Marks follow the switch between ASCII and Unicode."""

    def enter(self) -> None:
        """The pane comes in sight."""
        self.start.focus()

    @property
    def start(self) -> Button:
        return self.query_one(f"#{self.KEY}-start", Button)

    def say(self, text: str, style: str = "$quiet") -> None:
        self.query_one(f"#{self.KEY}-standing", Static).update(Content.styled(text, style))

    def blame(self, field: Input | None, sentence: str) -> None:
        """Point at the field that is wrong, or at none."""
        self.query(".-wrong").remove_class("-wrong")
        line = self.query_one(f"#{self.KEY}-wrong", Plain)
        line.display = bool(sentence)
        line.update(Content.styled(f"{glyphs.find_glyphs(self).no} {sentence}", "$gauge-full"))
        if field is not None:
            field.add_class("-wrong").focus()


def write_exports(where: Widget, kind: str, model: str, export: Callable[[ExportFormat], str]) -> None:
    """Into the working directory, in each format; what hinders that is told."""
    name = "".join(letter if letter.isalnum() else "-" for letter in model.rsplit("/", 1)[-1]).strip("-")
    stem = Path.cwd() / f"{kind}-{name[:40]}-{datetime.now():%Y%m%d-%H%M%S}"
    for form in ExportFormat:
        path = stem.with_suffix(f".{form.value}")
        try:
            write_new(path, export(form))
        except OSError as error:
            where.notify(f"{path} cannot be written: {error.strerror}.", severity="error", markup=False)
            return
    where.notify(f"Exported to {stem}.json, .csv and .md", markup=False)


def split_names(text: str) -> list[str]:
    """Names of models between commas, each once."""
    return list(dict.fromkeys(name for each in text.split(",") if (name := each.strip())))
