"""How alike two texts are, by the vectors that an embedder makes of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import TextArea

from core.errors import BenchtopError, Cancelled
from core.requests import Embedding, RawText
from core.snapshots import ModelKind
from core.tasks.embed import fold_embeddings, unpack_vector
from tui import format as fmt
from tui.screens.tasks.task_model import TaskModel
from tui.widgets.gauge import Gauge
from tui.widgets.plain import Plain

if TYPE_CHECKING:
    from tui.session import Desk

SETTLING_SECONDS: Final = 0.3
"""Without a change, before the texts are compared."""


@final
class SimilarityScreen(ModalScreen[None]):
    """Two fields; below them, as one types, the cosine of the angle between their vectors."""

    BINDINGS = [Binding("escape", "dismiss", "Close")]
    AUTO_FOCUS = "#first"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._model = TaskModel(desk, ModelKind.EMBEDDING)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "how alike two texts are"
            dialog.border_subtitle = "tab goes to the other text, escape closes"
            with Horizontal():
                yield TextArea(id="first", soft_wrap=True, tab_behavior="focus", placeholder="One text")
                yield TextArea(id="second", soft_wrap=True, tab_behavior="focus", placeholder="The other")
            yield Gauge("alike", steady=True, value_width=24, dom_id="alike")
            yield Plain(id="about")

    @on(TextArea.Changed)
    def _typed(self) -> None:
        self.compare()

    @work(group="compare", exclusive=True)
    async def compare(self) -> None:
        """Ask for both vectors, once nothing has changed for a moment."""
        texts = [self.query_one(f"#{name}", TextArea).text.strip() for name in ("first", "second")]
        if not all(texts):
            self._tell(0.0, "-", "Write a text in each of the two fields.")
            return
        await asyncio.sleep(SETTLING_SECONDS)
        try:
            await self._ask(texts)
        except Cancelled:
            self._tell(0.0, "-", "It was stopped.")
        except BenchtopError as error:
            self._tell(0.0, "-", str(error))

    async def _ask(self, texts: Sequence[str]) -> None:
        model = await self._model.find(lambda sentence: self._tell(0.0, "-", sentence))
        began = time.monotonic()
        asked = Embedding(model, tuple(map(RawText, texts)), field="text")
        stream = await self._desk.workbench.requests.submit(asked)
        made = fold_embeddings([event async for batch in stream for event in batch])
        first, second = (unpack_vector(vector) for vector in made.vectors)
        alike = compute_cosine(first, second)
        self._tell(
            max(0.0, alike),
            f"{alike:.3f}",
            f"{model}: vectors of {fmt.format_count(len(first))} numbers, "
            f"{fmt.format_plural(made.usage.prompt_tokens, 'token')}, {fmt.format_seconds(time.monotonic() - began)}. "
            "1 is the same meaning, 0 none in common; what counts as near differs from model to model.",
        )

    def _tell(self, share: float, value: str, sentence: str) -> None:
        self.query_one("#alike", Gauge).show(share, value)
        self.query_one("#about", Plain).update(sentence)


def compute_cosine(first: Sequence[float], second: Sequence[float]) -> float:
    """Of the angle between two vectors, -1 to 1; 0 where one of them has no length."""
    lengths = math.hypot(*first) * math.hypot(*second)
    product = math.fsum(one * other for one, other in zip(first, second, strict=True))
    return product / lengths if lengths else 0.0
