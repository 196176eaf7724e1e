"""Tool calls of an answer from elsewhere: fragments of a stream as canonical events."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from core.events import CallArguments, CallBegun, CallEnded, CallEvent


class FunctionFragment(Struct):
    name: str | None = None
    arguments: str | None = None


class CallFragment(Struct):
    """`index` counts the calls of a choice; servers that send whole calls leave it out."""

    index: Annotated[int, Meta(ge=0)] | None = None
    id: str | None = None
    function: FunctionFragment | None = None


class _Open:
    def __init__(self, place: int, number: int) -> None:
        self.place = place
        """What the server calls it."""
        self.number = number
        self.id = ""
        self.begun = False
        self.held: list[str] = []
        """Arguments that came before the name."""


class CallStream:
    """The calls of one choice. They come one after the other; a fragment of another one ends the one before."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._open: _Open | None = None
        self._made = 0

    @property
    def made(self) -> bool:
        """Whether any call has begun."""
        return self._made > 0

    def read(self, fragments: Sequence[CallFragment]) -> Iterator[CallEvent]:
        for fragment in fragments:
            place = self._made if fragment.index is None else fragment.index
            call = self._open
            if call is None or call.place != place:
                yield from self.end()
                call = self._open = _Open(place, self._made)
                self._made += 1
            call.id = call.id or fragment.id or ""
            function = fragment.function or FunctionFragment()
            if not call.begun and function.name:
                call.begun = True
                yield CallBegun(self._index, call.number, call.id or f"call_{secrets.token_hex(12)}", function.name)
            if function.arguments:
                call.held.append(function.arguments)
            if call.begun and call.held:
                text, call.held = "".join(call.held), []
                yield CallArguments(self._index, call.number, text)

    def end(self, *, whole: bool = True) -> Iterator[CallEvent]:
        """No more of the call that is open will come, if one is; one without a name was none. `whole`: nothing cut it
        off."""
        call, self._open = self._open, None
        if call is None:
            return
        if call.begun:
            yield CallEnded(self._index, call.number, whole)
        else:
            self._made -= 1
