"""The settings of a chat: a field for each, and beside it what the model has by itself or what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict
from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, TextArea

from core.conversations.presets import PresetShelf
from core.conversations.settings import ChatSettings, format_stops, read_number, read_stops
from core.requests import ReasoningWish, Sampling
from core.serving.ready import Traits
from tui import format as fmt
from tui.screens.chat.preset_dialog import PresetDialog
from tui.widgets.plain import Plain

MOST_EFFORT_CHARACTERS: Final = 32
HINTS: Final[Mapping[str, str]] = {
    "temperature": "0 draws the likeliest always",
    "top_p": "the likeliest that make up this share",
    "min_p": "share of the likeliest one's chance",
    "top_k": "so many of the likeliest; 0 is all",
    "seed": "the same answer each time",
    "max_tokens": "of one answer with its thought",
    "stop": r"texts with commas; \n is a new line",
    "effort": "none, low, medium, high",
    "budget": "tokens of thinking at most",
}
"""The fields of one line, in their order, and what they mean."""


class FieldFault(Exception):
    """What is wrong with a field, in a few words that stand beside it."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


class ModelDefaults(Struct, frozen=True):
    """What a model does by itself, as far as that is known."""

    sampling: Sampling | None = None
    deaf: tuple[str, ...] = ()
    """Of effort and budget, what it knows nothing of."""


def describe_defaults(traits: Traits | None) -> ModelDefaults:
    """Of a model that is loaded; nothing is known of others."""
    if traits is None:
        return ModelDefaults()
    ignored = () if traits.voice is None else traits.voice.list_ignored(ReasoningWish(effort="low", budget=100))
    return ModelDefaults(traits.sampling, ignored)


class ChatSettingsDialog(ModalScreen[None]):
    """`apply` is told what was set, once all of it can be."""

    BINDINGS = [
        ("escape", "dismiss", "Leave it"),
        ("ctrl+s", "apply", "Apply"),
        ("alt+p", "presets", "Presets"),
        ("alt+u", "unset", "Unset all"),
        ("down", "app.focus_next", "Next"),
        ("up", "app.focus_previous", "Before"),
    ]
    AUTO_FOCUS = "#set-system"

    def __init__(
        self,
        settings: ChatSettings,
        defaults: ModelDefaults,
        shelf: PresetShelf,
        apply: Callable[[ChatSettings], None],
    ) -> None:
        super().__init__()
        self._settings = settings
        self._defaults = defaults
        self._shelf = shelf
        self._apply = apply

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "settings of this chat"
            dialog.border_subtitle = "ctrl+s applies, alt+p presets, alt+u unsets, escape leaves"
            with VerticalScroll(id="fields"):
                with Horizontal(classes="setting -tall"):
                    yield Plain("system prompt", classes="named")
                    yield TextArea(self._settings.system, id="set-system", placeholder="what the model is told first")
                for name in HINTS:
                    with Horizontal(classes="setting"):
                        yield Plain(name.replace("_", " ") if name == "max_tokens" else name, classes="named")
                        yield Input(_format_value(self._settings, name), id=f"set-{name}", select_on_focus=False)
                        yield Plain(id=f"said-{name}", classes="said")
            with Horizontal(classes="answers"):
                yield Button("Apply", id="apply")
                yield Button("Presets", id="presets")
                yield Button("Unset all", id="unset")

    def on_mount(self) -> None:
        for name in HINTS:
            self._check(name)

    @on(Input.Changed)
    def check_field(self, event: Input.Changed) -> None:
        self._check((event.input.id or "").removeprefix("set-"))

    def _check(self, name: str) -> None:
        """Tell beside a field what is wrong, or what it means and what the model has."""
        field, said = self.query_one(f"#set-{name}", Input), self.query_one(f"#said-{name}", Plain)
        try:
            self._read(name)
        except FieldFault as fault:
            field.add_class("-wrong")
            said.update(Content.styled(str(fault), "$error"))
        else:
            field.remove_class("-wrong")
            said.update(Content.styled(self._hint(name), "$quiet"))

    def _hint(self, name: str) -> str:
        usual = self._defaults.sampling
        if name in self._defaults.deaf:
            return "this model knows nothing of it"
        own = getattr(usual, name, None) if usual is not None else None
        return f"{own:g} by itself; {HINTS[name]}" if own is not None else HINTS[name]

    def _read(self, name: str) -> object:
        """The value of a field. Raises FieldFault."""
        text = self.query_one(f"#set-{name}", Input).value
        try:
            if name == "stop":
                return read_stops(text)
            if name != "effort":
                return read_number(name, text)
        except ValueError as error:
            raise FieldFault(name, str(error)) from error
        word = text.strip()
        if not word.isprintable() or len(word.split()) > 1 or len(word) > MOST_EFFORT_CHARACTERS:
            raise FieldFault(name, "one word, please")
        return word or None

    def read_all(self) -> ChatSettings:
        """What the fields say. Raises FieldFault for the first that is wrong."""
        values = {name: self._read(name) for name in HINTS}
        return ChatSettings(system=self.query_one("#set-system", TextArea).text.strip(), **values)  # type: ignore[arg-type]

    @on(Input.Submitted)
    @on(Button.Pressed, "#apply")
    def action_apply(self) -> None:
        if (settings := self._read_or_point()) is not None:
            self.dismiss()
            self._apply(settings)

    def _read_or_point(self) -> ChatSettings | None:
        """What is set; None where something is wrong, which then has the focus."""
        try:
            return self.read_all()
        except FieldFault as fault:
            self.query_one(f"#set-{fault.name}").focus()
            self.app.bell()
            return None

    @on(Button.Pressed, "#presets")
    def action_presets(self) -> None:
        if (settings := self._read_or_point()) is not None:
            self.app.push_screen(PresetDialog(self._shelf, settings, self.fill))

    @on(Button.Pressed, "#unset")
    def action_unset(self) -> None:
        self.fill(ChatSettings())

    def fill(self, settings: ChatSettings) -> None:
        """Show other settings in the fields."""
        self.query_one("#set-system", TextArea).text = settings.system
        for name in HINTS:
            self.query_one(f"#set-{name}", Input).value = _format_value(settings, name)


def _format_value(settings: ChatSettings, name: str) -> str:
    if name == "stop":
        return format_stops(settings.stop)
    value = asdict(settings)[name]
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def summarize_settings(settings: ChatSettings, defaults: ModelDefaults, dot: str, width: int, cut: str) -> str:
    """What differs from the model's own, in one line of `width` cells at most; empty where nothing does."""
    return fmt.clip_text(f" {dot} ".join(settings.list_differences(defaults.sampling)), width, cut)
