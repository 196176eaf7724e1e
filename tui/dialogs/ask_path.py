"""A dialog that asks for a file or a folder, and completes what is typed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, Static

from core.files import expand_home
from tui.dialogs.ask import Ask
from tui.widgets.plain import Plain, make_drawable

SHOWN_NAMES: Final = 6
"""Names at most that are shown of those that what is typed may become."""
MOST_NAMES: Final = 10_000
"""Names of a folder that are looked at."""


class PathInput(Input):
    """A field in which tab completes, as in a shell."""

    BINDINGS = [Binding("tab", "screen.complete", "Complete", show=False, priority=True)]


class AskPath(Ask):
    """`takes` tells of a file whether it is offered; folders always are."""

    HINT = "tab completes, enter to go on, escape to leave"

    def __init__(
        self,
        title: str,
        value: str,
        accept: Callable[[str], str | None],
        takes: Callable[[str], bool],
        placeholder: str = "",
    ) -> None:
        super().__init__(title, value, accept, placeholder)
        self._takes = takes
        self._matches: tuple[str, ...] = ()
        self._looked = ""
        """What the matches belong to."""

    def compose_below(self) -> ComposeResult:
        yield Plain(classes="hint", id="matches")

    def make_field(self, value: str, placeholder: str) -> Input:
        return PathInput(value, placeholder=placeholder, select_on_focus=False)

    def on_mount(self) -> None:
        self._look(self._value)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self.query_one(".problem", Static).update("")
        field, whole = event.input, drop_suggested(event.value, self._value)
        if whole != event.value:
            field.value, field.cursor_position = whole, len(whole)
        else:
            self._look(whole)

    @work(thread=True, exclusive=True, group="names")
    def _look(self, typed: str) -> None:
        """On a thread: a folder may lie on a disk that sleeps."""
        matches = list_matches(typed, self._takes)
        self.app.call_from_thread(self._take, typed, matches)

    def _take(self, typed: str, matches: tuple[str, ...]) -> None:
        if not self.is_mounted or self.query_one(PathInput).value != typed:
            return
        self._looked, self._matches = typed, matches
        self.query_one("#matches", Static).update(describe_matches(matches))

    def action_complete(self) -> None:
        field = self.query_one(PathInput)
        if self._looked != field.value:
            return
        completed = complete_path(field.value, self._matches)
        if completed != field.value:
            field.value = completed
            field.cursor_position = len(completed)


def drop_suggested(typed: str, suggested: str) -> str:
    """A whole path that was typed, or pasted, behind the folder that stood in the field."""
    rest = typed.removeprefix(suggested)
    return rest if suggested.endswith("/") and rest != typed and rest.startswith(("/", "~")) else typed


def list_matches(typed: str, takes: Callable[[str], bool]) -> tuple[str, ...]:
    """The names in a folder that begin with the end of what is typed, in order, folders with a slash behind; hidden
    ones where a dot was typed. No names where there is no such folder. Touches the disk."""
    head, tail = _split(typed)
    try:
        with os.scandir(expand_home(head or ".")) as entries:
            found = []
            for number, entry in enumerate(entries):
                if number >= MOST_NAMES:
                    break
                name = entry.name
                if not name.startswith(tail) or (name.startswith(".") and not tail.startswith(".")):
                    continue
                if entry.is_dir():
                    found.append(f"{name}/")
                elif takes(name):
                    found.append(name)
    except (OSError, ValueError):
        return ()
    return tuple(sorted(found, key=str.casefold))


def complete_path(typed: str, matches: Sequence[str]) -> str:
    """What is typed, as far as all matches agree on how it goes on."""
    if not matches:
        return typed
    first, last = min(matches), max(matches)
    alike = next((at for at, pair in enumerate(zip(first, last, strict=False)) if len({*pair}) > 1), len(first))
    return _split(typed)[0] + first[:alike]


def describe_matches(matches: Sequence[str]) -> str:
    """The first few of them."""
    shown = "  ".join(make_drawable(name, lines=False).plain for name in matches[:SHOWN_NAMES])
    more = len(matches) - SHOWN_NAMES
    return f"{shown}  and {more} more" if more > 0 else shown


def _split(typed: str) -> tuple[str, str]:
    """The folder as it is typed, with its slash, and what comes behind it. `~` alone is a folder."""
    if typed == "~":
        return "~/", ""
    head, slash, tail = typed.rpartition("/")
    return head + slash, tail
