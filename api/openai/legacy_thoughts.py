"""Thoughts that are told in the answer's text too, as DeepSeek's first clients expect them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from core.events import Event, Failed, Finished, ReasoningDelta, TextDelta

LEGACY: Final = "deepseek-legacy"
BEGIN: Final = "<think>"
END: Final = "</think>"


class ThoughtsInText:
    """Adds to the events of one request what its text is to say of its thoughts."""

    def __init__(self) -> None:
        self._thinking: set[int] = set()
        """Choices that are amid a thought."""

    def add(self, events: Sequence[Event]) -> list[Event]:
        return [told for event in events for told in self._add_to(event)]

    def _add_to(self, event: Event) -> Iterator[Event]:
        match event:
            case ReasoningDelta(index=index, text=text):
                yield event
                begin = "" if index in self._thinking else BEGIN
                self._thinking.add(index)
                yield TextDelta(index, begin + text, tokens=0)
                return
            case Failed():
                pass
            case TextDelta(text="") if event.index in self._thinking:
                pass
            case TextDelta() | Finished():
                if event.index in self._thinking:
                    self._thinking.discard(event.index)
                    yield TextDelta(event.index, END, tokens=0)
        yield event
