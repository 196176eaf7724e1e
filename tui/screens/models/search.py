"""The search field above the models, with the sections beside it and the view in words below it."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tui import format as fmt
from tui import glyphs
from tui.screens.models.rows import ListSection, Order, View
from tui.widgets.plain import Plain

SHORT_CHARACTERS = 30
"""Characters that fit beside the view on a narrow terminal."""


class SearchField(Input):
    """Escape clears it, and leaves it when it is empty; down and enter leave it for the list."""

    BINDINGS = [("escape", "give_up", "Clear"), ("down", "leave", "To the list")]

    class Left(Message):
        """The list has its turn."""

    def action_give_up(self) -> None:
        if self.value:
            self.value = ""
        else:
            self.post_message(self.Left())

    def action_leave(self) -> None:
        self.post_message(self.Left())


class SectionTab(Plain):
    """The name of a part of the list."""

    ALLOW_SELECT = False

    class Chosen(Message):
        def __init__(self, section: ListSection) -> None:
            super().__init__()
            self.section = section

    def __init__(self, section: ListSection) -> None:
        super().__init__(section.value, classes="section", id=f"section-{section.value}")
        self._section = section

    def on_click(self) -> None:
        self.post_message(self.Chosen(self._section))


class Search(Vertical):
    """Posts `Typed` at every change of its words."""

    class Typed(Message):
        def __init__(self, words: str) -> None:
            super().__init__()
            self.words = words

    def compose(self) -> ComposeResult:
        with Horizontal(id="search-line"):
            yield Plain("/", id="slash")
            yield SearchField(placeholder="search here, the catalog and the Hub", id="search")
            for section in ListSection:
                yield SectionTab(section)
        with Horizontal(id="view-line"):
            yield Plain(id="view")
            yield Plain(id="hub-state")

    @on(Input.Changed, "#search")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Typed(event.value))

    @on(Input.Submitted, "#search")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(SearchField.Left())

    def tell(self, view: View, shown: int, whole: int, hub: str) -> None:
        """Say in words what is shown, and how the Hub is."""
        self.query_one("#view", Static).update(describe_view(view, shown, whole, glyphs.find_glyphs(self).dot))
        self.query_one("#hub-state", Static).update(Content.styled(hub, "$quiet"))
        self.set_class(len(hub) > SHORT_CHARACTERS, "-long")
        for section in ListSection:
            self.query_one(f"#section-{section.value}").set_class(section is view.section, "-active")


def describe_view(view: View, shown: int, whole: int, dot: str) -> Content:
    """`chat · gguf · at most 8B · by size · 12 of 80`."""
    filters = [
        view.task.value if view.task else "",
        view.format or "",
        view.licence or "",
        f"at most {fmt.shorten_count(view.most_parameters)}" if view.most_parameters else "",
        "open only" if view.open_only else "",
    ]
    said = [each for each in filters if each] or ["everything"]
    order = "" if view.order is Order.LISTED else f"by {view.order.value}"
    counted = f"{fmt.format_count(shown)} of {fmt.format_count(whole)}"
    return Content.assemble(
        (f" {dot} ".join(said), "bold" if view.filtered else "$quiet"),
        (f" {dot} " + f" {dot} ".join(filter(None, (order, counted))), "$quiet"),
    )
