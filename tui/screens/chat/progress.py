"""Numbers that live, below an answer that is being written: what it waits for, how much of its prompt is read, and how
fast it comes."""

from __future__ import annotations

from typing import Final

from textual.content import Content

from core.snapshots import ModelSnapshot, ModelState, RequestRow, RequestState
from tui import format as fmt
from tui import glyphs
from tui.glyphs import Glyphs
from tui.widgets.gauge import draw_bar
from tui.widgets.plain import Plain

BAR_CELLS: Final = 16
NAME_CELLS: Final = 24
"""Of a model that is being loaded: what is done to it matters more than the end of its name."""
MEASURING: Final = "measuring"
"""What the steps of a trial run begin with."""
BAR_TOKENS: Final = 64
"""Of a prompt that is to be computed, from which a bar is worth its place."""


def draw_progress(row: RequestRow, model: ModelSnapshot | None, marks: Glyphs) -> Content:
    """One line about a request that waits or runs."""
    window = model.context if model is not None else None
    match row.state:
        case RequestState.QUEUED:
            parts = [f"waiting, number {row.position} in the queue", fmt.format_seconds(row.waited)]
        case RequestState.PREEMPTED:
            parts = ["put aside for others; it goes on when there is room", *_list_written(row, window)]
        case RequestState.PREFILL:
            return _draw_reading(row, marks)
        case RequestState.LOADING:
            parts = ["waiting for its model", fmt.format_seconds(row.waited)]
        case RequestState.DECODE | RequestState.ENDED:
            parts = _list_written(row, window)
    return Content(f" {marks.dot} ".join(parts))


def _list_written(row: RequestRow, window: int | None) -> list[str]:
    parts = [f"{fmt.format_count(row.completion_tokens)} tok"]
    if row.rate:
        parts.append(f"{fmt.format_rate(row.rate)} tok/s")
    parts.append(fmt.format_seconds(row.elapsed))
    used = row.prompt_tokens + row.completion_tokens
    if window:
        parts.append(f"{fmt.format_percent(used, window)} of the context")
    return parts


def _draw_reading(row: RequestRow, marks: Glyphs) -> Content:
    """The part of the prompt that was known is in the bar from the start."""
    read, tokens = fmt.format_count(row.prefilled), fmt.format_count(row.prompt_tokens)
    parts = [f"{read} of {tokens} tokens"]
    if row.cached_tokens:
        parts.append(f"{fmt.format_count(row.cached_tokens)} cached")
    if row.eta is not None:
        parts.append(f"{fmt.format_seconds(row.eta)} left")
    words = f" {marks.dot} ".join(parts)
    if row.prompt_tokens - row.cached_tokens < BAR_TOKENS:
        return Content(f"reading {words}")
    bar = draw_bar(row.prefilled / max(1, row.prompt_tokens), BAR_CELLS, marks, "$prefill")
    return Content.assemble("reading ", bar, f" {words}")


class LoadLine(Plain):
    """What is done to the model that is being loaded, and for how long that has gone on."""

    def __init__(self) -> None:
        super().__init__(id="loading")
        self.display = False
        self._began: tuple[str, float] | None = None
        """Which model, and when it was seen first."""
        self.skippable = False
        """Whether something is measured that one need not wait for."""

    def show(self, model: ModelSnapshot | None, uptime: float, *, may_skip: bool = True) -> None:
        """`uptime`: of the process, which is the clock of snapshots. `may_skip`: escape has no other use now."""
        if model is None or model.state is not ModelState.LOADING:
            self._began, self.display, self.skippable = None, False, False
            return
        if self._began is None or self._began[0] != model.name:
            self._began, self.display = (model.name, uptime), True
        marks = glyphs.find_glyphs(self)
        passed = fmt.format_seconds(max(0.0, uptime - self._began[1]))
        self.skippable = may_skip and model.detail.startswith(MEASURING)
        hint = f" {marks.dot} esc skips" if self.skippable else ""
        name = fmt.clip_text(model.name.rsplit("/", 1)[-1], NAME_CELLS, marks.cut)
        self.update(f"{name}: {model.detail or 'loading'} {marks.dot} {passed}{hint}")
