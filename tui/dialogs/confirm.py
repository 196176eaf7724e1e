"""A small dialog that asks before something is done, with a key for each answer."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import Key
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button

from tui import format as fmt
from tui.widgets.plain import Plain, make_drawable


class Confirm(ModalScreen[None]):
    """`answers` maps a key to what its button says and what it does; escape does nothing. The focus is on the last,
    which should be the harmless one."""

    BINDINGS = [("escape", "dismiss", "Leave it"), ("left", "app.focus_previous"), ("right", "app.focus_next")]

    def __init__(self, title: str, question: str, answers: dict[str, tuple[str, Callable[[], object]]]) -> None:
        super().__init__()
        self._title = title
        self._question = question
        self._answers = answers
        self._seen = inf
        """When the question was drawn, by the clock of messages."""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = make_drawable(self._title, lines=False)
            dialog.border_subtitle = "escape to leave it"
            yield Plain(self._question, classes="question-text")
            with Horizontal(classes="answers"):
                for key, (words, _) in self._answers.items():
                    yield Button(f"{words} ({key})", id=f"answer-{key}")
                yield Button("Leave it (esc)", id="answer-none")

    def on_mount(self) -> None:
        self.query_one("#answer-none").focus()
        self.call_after_refresh(self._see)

    def _see(self) -> None:
        self._seen = Message().time

    @on(Button.Pressed)
    def _press(self, event: Button.Pressed) -> None:
        event.stop()
        self._answer((event.button.id or "").removeprefix("answer-"))

    def on_key(self, event: Key) -> None:
        """Nobody answers a question that could not be read yet: keys typed ahead are no answer."""
        if event.time >= self._seen and event.character and event.character.lower() in self._answers:
            event.stop()
            self._answer(event.character.lower())

    def _answer(self, key: str) -> None:
        self.dismiss()
        if key in self._answers:
            self._answers[key][1]()


class Farewell(Confirm):
    """Asks before the app is left while clients of its server wait for `answers`."""

    def __init__(self, answers: int, leave: Callable[[], object]) -> None:
        verb = "are" if answers != 1 else "is"
        told = f"{fmt.format_plural(answers, 'answer')} {verb} being written for clients of the server, and would end."
        question = f"{told} ctrl+q again quits."
        super().__init__("quit", question, {"y": ("Quit", leave)})
