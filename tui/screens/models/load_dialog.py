"""A dialog that asks how a model is to be loaded this time: slots, threads, guessing ahead, where its layers lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import DescendantFocus
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from core.contract.declared import list_fields
from core.errors import ConfigError
from core.settings.check import convert_values
from core.settings.model import ModelSettings
from tui.widgets.plain import Plain, make_drawable

ASKED: Final[Mapping[str, str]] = {
    "slots": "slots",
    "threads": "threads",
    "draft": "draft",
    "gpu_layers": "layers",
    "cpu_moe": "experts",
    "split_mode": "split",
}
"""The settings that are asked for, and what they are called here."""
SOURCE: Final = "these fields"


class LoadDialog(ModalScreen[None]):
    """Empty fields leave it to the settings. `accept` is given what was written and what it means; it is called once,
    when all of it is right."""

    BINDINGS = [("escape", "dismiss", "Cancel"), ("down", "app.focus_next"), ("up", "app.focus_previous")]

    def __init__(
        self, name: str, written: Mapping[str, str], accept: Callable[[dict[str, str], ModelSettings], object]
    ) -> None:
        super().__init__()
        self._name = name
        self._written = written
        self._accept = accept
        self._help = {field.name: field.help for field in list_fields(ModelSettings)}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog", id="load-options") as dialog:
            dialog.border_title = make_drawable(f"Load {self._name} with", lines=False)
            dialog.border_subtitle = "enter loads, tab goes on, escape leaves"
            for key, label in ASKED.items():
                with Horizontal():
                    yield Label(label)
                    yield Input(self._written.get(key, ""), id=f"option-{key}", placeholder="as the settings say")
            yield Plain(classes="hint", id="option-help")
            yield Plain(classes="problem")

    @on(DescendantFocus)
    def _explain(self, event: DescendantFocus) -> None:
        key = (event.widget.id or "").removeprefix("option-")
        if key in ASKED:
            told = self._help[key]
            self.query_one("#option-help", Static).update(f"{told[:1].upper()}{told[1:]}.")

    @on(Input.Submitted)
    def _submit(self) -> None:
        fields = {key: self.query_one(f"#option-{key}", Input).value.strip() for key in ASKED}
        written = {key: text for key, text in fields.items() if text}
        try:
            settings = convert_values(written, ModelSettings, SOURCE, strict=False)
        except ConfigError as error:
            self.query_one(".problem", Static).update(str(error))
            return
        self.dismiss()
        self._accept(written, settings)
