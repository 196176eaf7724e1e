"""The workbench's end of a process that renders one chat template: see `core.confined`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from core.chat.wire import (
    MOST_SOURCE_CHARACTERS,
    REPORT_BYTES,
    Compile,
    Compiled,
    Order,
    Render,
    Rendered,
    Report,
    TemplateBroken,
    TemplateRefused,
    TemplateReply,
)
from core.confined.process import GARBAGE, ConfinedProcess, ProcessEnded

ORDER_SECONDS: Final = 5.0
"""Of the processor, that a template may take for one conversation, or to compile; thousands of times what is usual."""
SHORT_CLOCK_FACTOR: Final = 2
"""How many times as long a short conversation may take by the clock: others wait for it."""
CLOSED: Final = "is not served any more"


class TemplateProcess:
    """One template in a process of its own, which is started at once and again after it had to be ended.

    Orders are served one at a time; `close` may be called from any thread, and ends one under way.
    """

    def __init__(
        self,
        source: str,
        seconds: float = ORDER_SECONDS,
        words: Sequence[str] = (),
        clock_factor: float = SHORT_CLOCK_FACTOR,
    ) -> None:
        """`seconds` are those of the processor that an order may take, `clock_factor` tells how many times as long it
        may take by the clock; `words` are looked for among the source's texts."""
        self._by_clock = clock_factor * seconds
        self._source = source
        self._words = tuple(words)
        self._seconds = seconds
        self._turn = threading.Lock()
        self._closed = False
        self._compiles = False
        """Whether the running process has compiled the source."""
        self._child: ConfinedProcess[Report] | None = self._new_child()

    @property
    def closed(self) -> bool:
        return self._closed

    def compile(self) -> Compiled | TemplateBroken:
        """What the template is. Raises ProcessEnded."""
        if len(self._source) > MOST_SOURCE_CHARACTERS:
            return TemplateBroken(
                f"it has {len(self._source):,} characters; {MOST_SOURCE_CHARACTERS:,} are the most a template may have"
            )
        with self._turn:
            return self._compiled(self._running())

    def render(self, order: Render) -> TemplateReply:
        """Raises ProcessEnded; UnicodeEncodeError for a text with half a surrogate."""
        with self._turn:
            child = self._running()
            if not self._compiles and isinstance(problem := self._compiled(child), TemplateBroken):
                return problem
            report = self._ask(child, order)
        if isinstance(report, Rendered | TemplateRefused | TemplateBroken):
            return report
        raise ProcessEnded(GARBAGE)

    def close(self) -> None:
        """End the process, and an order under way with it. Nothing can be asked afterwards; idempotent."""
        self._closed = True
        if (child := self._child) is not None:
            child.end()

    def _running(self) -> ConfinedProcess[Report]:
        if self._child is None:
            self._child = self._new_child()
        if self._closed:
            self._child.end()
            raise ProcessEnded(CLOSED)
        return self._child

    def _new_child(self) -> ConfinedProcess[Report]:
        self._compiles = False
        return ConfinedProcess("core.chat.worker", Report, REPORT_BYTES)  # type: ignore[arg-type]

    def _compiled(self, child: ConfinedProcess[Report]) -> Compiled | TemplateBroken:
        match self._ask(child, Compile(self._source, self._words)):
            case Compiled() as compiled:
                self._compiles = True
                return compiled
            case TemplateBroken() as broken:
                return broken
            case _:
                raise ProcessEnded(GARBAGE)

    def _ask(self, child: ConfinedProcess[Report], order: Order) -> Report:
        try:
            return child.ask(order, self._seconds, self._by_clock)
        except ProcessEnded:
            if self._closed:
                raise ProcessEnded(CLOSED) from None
            # The next process starts before a request waits for it.
            self._child = None
            self._child = self._new_child()
            raise
