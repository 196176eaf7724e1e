"""A mask that lets words be, and holds calls of tools from where the first of them begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from core.decoding.masks.token_mask import TokenMask
from core.errors import RequestError

BLANKS = b" \t\r\n"


class AwaitedCalls(Struct, frozen=True):
    """How it is told that calls begin."""

    begins: tuple[bytes, ...]
    """What a call may begin with; not empty."""
    thought: tuple[bytes, bytes] | None
    """What stands before and after a thought, in which nothing is called."""
    thinking: bool
    """Whether the prompt has begun a thought."""
    show: Callable[[int], bytes]
    """The bytes of a token, those of control tokens too."""
    encode: Callable[[str], Sequence[int]]
    """A text as tokens, with control tokens."""


class CallMask:
    """Follows the text of one choice. Belongs to one thread at a time."""

    def __init__(self, calls: TokenMask, awaited: AwaitedCalls) -> None:
        """`calls` is a fresh mask, of calls alone."""
        self._calls = calls
        self._awaited = awaited
        marks = [*awaited.begins, *(awaited.thought or ())]
        self._reach = max(map(len, marks)) - 1
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
        made._begun, made._free = self._begun, self._free
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
        text = self._tail
        for at, guess in enumerate(draft):
            text += self._awaited.show(guess)
            if any(begin in text for begin in self._awaited.begins):
                # What comes behind the beginning is drawn under a mask, which a guess has none of.
                return list(draft[:at]), ()
        return list(draft), ()

    def take(self, token: int) -> None:
        """The token was drawn. Raises RequestError as `TokenMask.take` does."""
        if self._begun:
            self._calls.take(token)
        elif not self._free:
            self._read(self._tail + self._awaited.show(token))

    def _read(self, text: bytes) -> None:
        thought = self._awaited.thought
        while True:
            mark, behind = self._find_mark(text)
            if not mark:
                break
            if mark in self._awaited.begins and not self._thinking:
                self._begin(mark, behind)
                return
            self._thinking = not self._thinking
            self._blank = not self._thinking
            text = behind
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

    def _begin(self, mark: bytes, behind: bytes) -> None:
        """Take what was written of the call. Where a token reaches from its beginning to what the mask would not have
        allowed, the call is left to its reader."""
        calls = self._calls.copy()
        try:
            for written in (mark, behind):
                for token in self._awaited.encode(written.decode("utf-8", "replace")):
                    calls.take(token)
        except RequestError:
            self._free = True
            return
        self._calls, self._begun = calls, True
