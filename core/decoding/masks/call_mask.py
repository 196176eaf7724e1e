"""A mask that lets words be, and holds calls of tools from where the first of them begins."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from core.chat.parsers.family import CallOpening
from core.decoding.masks.token_mask import TokenMask
from core.errors import RequestError
from core.requests import Tool

BLANKS = b" \t\r\n"
LONGEST_OPENING_BYTES: Final = 512
"""In which a call shows that begins with no mark."""


class AwaitedOpening(Struct, frozen=True):
    """How a call shows that begins with no mark."""

    pattern: re.Pattern[bytes]
    """With a group `name`."""
    written: Mapping[bytes, str]
    """What the mask is to have taken by then, by the name of each tool."""
    anywhere: bool
    """Whether it counts wherever it stands; else where nothing was written, but for a thought."""


class AwaitedCalls(Struct, frozen=True):
    """How it is told that calls begin."""

    begins: tuple[bytes, ...]
    """What a call may begin with."""
    thought: tuple[bytes, bytes] | None
    """What stands before and after a thought, in which nothing is called."""
    thinking: bool
    """Whether the prompt has begun a thought."""
    show: Callable[[int], bytes]
    """The bytes of a token, those of control tokens too."""
    encode: Callable[[str], Sequence[int]]
    """A text as tokens, with control tokens."""
    openings: tuple[AwaitedOpening, ...] = ()


class CallMask:
    """Follows the text of one choice. Belongs to one thread at a time."""

    def __init__(self, calls: TokenMask, awaited: AwaitedCalls) -> None:
        """`calls` is a fresh mask, of calls alone."""
        self._calls = calls
        self._awaited = awaited
        marks = [*awaited.begins, *(awaited.thought or ())]
        self._reach = max(map(len, marks), default=1) - 1
        if any(opening.anywhere for opening in awaited.openings):
            self._reach = max(self._reach, LONGEST_OPENING_BYTES)
        self._head: bytes | None = None if awaited.thinking else b""
        """All that was written, or all behind a thought, where a call may show in it that counts there alone."""
        self._tail = b""
        """The end of what was written, in which a mark may have begun."""
        self._blank = True
        """Whether nothing but blanks was written."""
        self._thinking = awaited.thinking
        self._begun = False
        self._free = False
        """Whether what was written is no call that the mask knows, and is left to its reader."""

    def copy(self) -> CallMask:
        """Another one at the same place, which goes its own way."""
        made = CallMask(self._calls.copy(), self._awaited)
        made._tail, made._blank, made._thinking = self._tail, self._blank, self._thinking
        made._begun, made._free, made._head = self._begun, self._free, self._head
        return made

    @property
    def complete(self) -> bool:
        """Whether nothing may follow."""
        return self._begun and self._calls.complete

    def follow(self, draft: Sequence[int]) -> tuple[list[int], tuple[bytes, ...]]:
        """As `TokenMask.follow`; without masks where anything may come."""
        if self._begun:
            return self._calls.follow(draft)
        if self._free or not draft:
            return list(draft), ()
        text, head = self._tail, self._head
        thought = self._awaited.thought
        for at, guess in enumerate(draft):
            piece = self._awaited.show(guess)
            text += piece
            head = None if head is None else head + piece
            # What comes behind the beginning of a call is drawn under a mask, which a guess has none of.
            if any(begin in text for begin in self._awaited.begins) or self._find_opening(head, text) is not None:
                return list(draft[:at]), ()
            if self._awaited.openings and self._thinking and thought is not None and thought[1] in text:
                return list(draft[: at + 1]), ()
        return list(draft), ()

    def take(self, token: int) -> None:
        """The token was drawn. Raises RequestError as `TokenMask.take` does."""
        if self._begun:
            self._calls.take(token)
        elif not self._free:
            piece = self._awaited.show(token)
            if self._head is not None:
                self._head = self._head + piece if len(self._head) < LONGEST_OPENING_BYTES else None
            self._read(self._tail + piece)

    def _read(self, text: bytes) -> None:
        thought = self._awaited.thought
        while True:
            mark, behind = self._find_mark(text)
            if not mark:
                break
            if mark in self._awaited.begins and not self._thinking:
                if self._begin(mark.decode("utf-8", "replace"), behind):
                    return
            else:
                self._thinking = not self._thinking
                self._blank = not self._thinking
                self._head = None if self._thinking else behind
            text = behind
        if not self._thinking and (found := self._find_opening(self._head, text)) is not None and self._begin(*found):
            return
        begun = text.lstrip(BLANKS)
        self._blank = self._blank and (not begun or bool(thought and thought[0].startswith(begun)))
        self._tail = text[-self._reach :] if self._reach else b""

    def _find_mark(self, text: bytes) -> tuple[bytes, bytes]:
        """The first mark that counts here, and what is behind it."""
        thought = self._awaited.thought
        marks: list[bytes]
        if self._thinking:
            marks = [thought[1]] if thought is not None else []
        else:
            marks = [*self._awaited.begins]
            if thought is not None and self._blank and text.lstrip(BLANKS).startswith(thought[0]):
                marks.append(thought[0])
        found = [(at, -len(mark), mark) for mark in marks if (at := text.find(mark)) >= 0]
        if not found:
            return b"", b""
        at, _, mark = min(found)
        return mark, text[at + len(mark) :]

    def _find_opening(self, head: bytes | None, text: bytes) -> tuple[str, bytes] | None:
        """What a call that shows in one of these has written by then, and what stands behind that."""
        for opening in self._awaited.openings:
            searched = text if opening.anywhere else head
            if searched is None:
                continue
            found = opening.pattern.search(searched) if opening.anywhere else opening.pattern.match(searched)
            if found is not None and (written := opening.written.get(found["name"])) is not None:
                return written, searched[found.end() :]
        return None

    def _begin(self, written: str, behind: bytes) -> bool:
        """Take what was written of the call. Whether it is one of those that the mask knows. Where a token reaches from
        its beginning to what the mask would not have allowed, the call is left to its reader."""
        calls = self._calls.copy()
        try:
            for token in self._awaited.encode(written):
                calls.take(token)
        except RequestError:
            return False
        try:
            for token in self._awaited.encode(behind.decode("utf-8", "replace")):
                calls.take(token)
        except RequestError:
            self._free = True
        else:
            self._calls, self._begun = calls, True
        return True


def build_openings(openings: Sequence[CallOpening], tools: Sequence[Tool]) -> tuple[AwaitedOpening, ...]:
    """How calls of these tools show that begin with no mark."""
    return tuple(
        AwaitedOpening(
            re.compile(opening.pattern.encode()),
            {tool.name.encode(): opening.written.replace("NAME", tool.name) for tool in tools},
            opening.anywhere,
        )
        for opening in openings
    )
