"""One request in full: what it says, what it asks, what came of it up to now."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from core.observing.recent import EndedRequest
from core.serving.content import AnswerReadout, RequestContent
from core.snapshots import ModelKind, RequestRow, RequestState
from tui.screens.serve.request_facts import (
    describe_end,
    describe_guesses,
    describe_origin,
    describe_state,
    list_notes,
    list_times,
    list_tokens,
)
from tui.screens.serve.request_text import clip_begin, clip_middle, list_parameters, list_prompt
from tui.session import Desk
from tui.widgets.plain import Plain, make_drawable

LOOK_SECONDS: Final = 0.5
MOST_SHOWN_CHOICES: Final = 8
FACTS: Final = ("state", "asked", "times", "tokens", "wants", "notes")


class Side(Enum):
    """What is shown of a request."""

    ANSWER = "answer"
    MESSAGES = "prompt"
    RENDERED = "as the model reads it"


@final
class RequestDialog(ModalScreen[None]):
    """Looks again while the request runs, and reads no more than is shown."""

    BINDINGS = [
        Binding("escape,q,enter", "dismiss", "Close"),
        Binding("x,delete", "cancel", "Cancel it"),
        Binding("a,1", "turn('ANSWER')", "Answer"),
        Binding("p,2", "turn('MESSAGES')", "Prompt"),
        Binding("r,3", "turn('RENDERED')", "As the model reads it"),
        Binding("tab,right", "turn_on(1)", "Next", priority=True),
        Binding("shift+tab,left", "turn_on(-1)", "Before", priority=True),
        Binding("c", "copy", "Copy what is shown"),
    ]
    AUTO_FOCUS = "#said-scroll"

    def __init__(self, desk: Desk, request_id: str) -> None:
        super().__init__()
        self._desk = desk
        self._request_id = request_id
        self._side = Side.ANSWER
        self._shown: object = None
        self._row: RequestRow | None = None
        self._ended: EndedRequest | None = None
        self._known: RequestContent | None = None
        self._readouts: list[AnswerReadout] = []
        self._text = ""
        self._facts: Sequence[str] = ()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = make_drawable(f"request {self._request_id}", lines=False)
            dialog.border_subtitle = "tab turns, c copies, x cancels, escape closes"
            with Vertical(id="facts"):
                for name in FACTS:
                    with Horizontal(id=f"fact-{name}", classes="fact"):
                        yield Plain(name, classes="fact-name")
                        yield Plain()
            with Horizontal(id="sides"):
                for side in Side:
                    yield Plain(side.value, id=f"side-{side.name.lower()}", classes="mode")
            with VerticalScroll(id="said-scroll"):
                yield Plain(id="said")

    def on_mount(self) -> None:
        self.set_interval(LOOK_SECONDS, self.look)
        self._mark()
        self.look()

    @work(group="look", exclusive=True)
    async def look(self) -> None:
        """Show how it is now."""
        if self._ended is not None and self._shown == self._side:
            return
        self._find()
        if self._row is None:
            self._show_facts(("It ended too long ago to be known still.", "", "", "", "", ""))
            return
        self._show_facts(self._describe(self._row))
        if (state := self._tell_state(self._row)) != self._shown:
            self._shown = state
            await self._draw_side()

    def _tell_state(self, row: RequestRow) -> object:
        """What is shown is drawn again where this is another one. Of what runs, the answer alone grows."""
        if self._ended is not None:
            return self._side
        return self._side, row.state, row.completion_tokens if self._side is Side.ANSWER else row.prompt_tokens

    def _find(self) -> None:
        """It runs, or has ended; what it said stays at hand while this is open."""
        if self._ended is not None:
            return
        workbench = self._desk.workbench
        row = workbench.requests.row(self._request_id)
        if row is not None and row.state is not RequestState.ENDED:
            self._row, self._known = row, workbench.requests.content(self._request_id) or self._known
            return
        self._ended = ended = workbench.recent.find_ended(self._request_id)
        if ended is not None:
            self._row, self._known = ended.row, ended.content or self._known

    def _show_facts(self, words: Sequence[str]) -> None:
        if words == self._facts:
            return
        self._facts = words
        for name, text in zip(FACTS, words, strict=True):
            line = self.query_one(f"#fact-{name}")
            line.display = bool(text)
            line.query(Plain).last().update(text)

    def _describe(self, row: RequestRow) -> Sequence[str]:
        """The words of each of the facts."""
        ended = self._ended
        asked = ", ".join(list_parameters(self._known.asked)) if self._known is not None else ""
        return (
            describe_end(ended) if ended is not None else describe_state(row),
            describe_origin(row, ended),
            ", ".join(list_times(row, ended)),
            ", ".join(list_tokens(row, ended)),
            asked,
            " ".join(part for part in (describe_guesses(row), *list_notes(row)) if part),
        )

    async def _draw_side(self) -> None:
        said = self.query_one("#said", Plain)
        scroll = self.query_one("#said-scroll", VerticalScroll)
        follows = self._side is Side.ANSWER and self._ended is None and scroll.is_vertical_scroll_end
        content = await self._write()
        self._text = content.plain
        said.update(content)
        if follows:
            scroll.scroll_end(animate=False)

    async def _write(self) -> Content:
        known = self._known
        if known is None:
            return Content.styled("What it said is not kept: it never reached a model, or ended long ago.", "$quiet")
        match self._side:
            case Side.MESSAGES:
                return Content("\n\n").join(list_prompt(known.asked))
            case Side.RENDERED:
                return await self._write_rendered(known)
            case Side.ANSWER:
                return await self._write_answer(known)

    async def _write_rendered(self, known: RequestContent) -> Content:
        text = await known.write_prompt()
        if text is not None:
            return Content(clip_middle(text))
        why = (
            "Its model was unloaded since." if known.prompt else "Its model reads the prompt by itself, or has not yet."
        )
        return Content.styled(why, "$quiet")

    async def _write_answer(self, known: RequestContent) -> Content:
        if self._ended is not None and self._ended.kind in (ModelKind.EMBEDDING, ModelKind.RERANKING):
            return Content.styled("Vectors and scores are not kept.", "$quiet")
        if known.choices and not self._readouts:
            self._readouts = [AnswerReadout(known, choice) for choice in range(len(known.choices))[:MOST_SHOWN_CHOICES]]
        answers = [await each.read() for each in self._readouts or [AnswerReadout(known)]]
        if None in answers:
            return Content.styled("Its model was unloaded since, and with it the letters of its tokens.", "$quiet")
        texts = [clip_begin(text) for text in answers if text is not None]
        if not any(texts):
            return Content.styled("Nothing was written." if self._ended else "Nothing is written yet.", "$quiet")
        if len(texts) == 1:
            return Content(texts[0])
        return Content("\n\n").join(
            Content.assemble((f"choice {number}", "bold $secondary"), "\n", text)
            for number, text in enumerate(texts, 1)
        )

    def _mark(self) -> None:
        for side in Side:
            self.query_one(f"#side-{side.name.lower()}").set_class(side is self._side, "-active")

    def action_turn(self, name: str) -> None:
        self._side = Side[name]
        self._mark()
        self.query_one("#said-scroll").scroll_home(animate=False)
        self.look()

    def action_turn_on(self, by: int) -> None:
        sides = list(Side)
        self.action_turn(sides[(sides.index(self._side) + by) % len(sides)].name)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._text)
        self.notify("What is shown is in the clipboard.")

    def action_cancel(self) -> None:
        if not self._desk.workbench.requests.cancel(self._request_id):
            self.notify("That request has ended already.", severity="warning")
