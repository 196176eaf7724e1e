"""Thoughts that are ended for a model: after a budget of tokens, or when somebody has heard enough.

The model is made to have written the end of its thought, as tokens of its own answer: they are computed with the next
step, told to the client, counted, and kept in the prefix cache as if they had been drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from msgspec import Struct

from core.requests import Calling, CallOf, Generation

UTF8_TAIL_BYTES: Final = 3
"""Bytes of a character that may lack its last one."""


class ThoughtEnding(Struct, frozen=True):
    """How the thoughts of one request are told from the rest, and ended."""

    begin: bytes
    end: bytes
    """What stands before a thought and behind it."""
    inside: bool
    """Whether the prompt has begun one."""
    written: tuple[int, ...]
    """Tokens that end it: last words, what stands behind a thought, and what leads to the answer."""
    budget: int | None = None
    """Tokens that a thought may have; None for any number."""
    shown: Mapping[int, bytes] = {}
    """Control tokens among the marks, with their letters."""


class ThoughtStage(Enum):
    BEFORE = auto()
    INSIDE = auto()
    OVER = auto()


class ThoughtWatch:
    """Follows the text of one choice up to the end of its thought. Belongs to the loop's thread."""

    def __init__(self, ending: ThoughtEnding, budget: int) -> None:
        self._ending = ending
        self.budget = budget
        """Tokens that the thought may have."""
        self._stage = ThoughtStage.INSIDE if ending.inside else ThoughtStage.BEFORE
        self._tail = b""
        """What may be part of a mark."""
        self._tokens = 0
        """Of the thought."""
        self._waited = 0
        """Of them, those behind its budget."""

    def take(self, piece: bytes) -> bool:
        """The next token's bytes. Whether the thought has to end behind it."""
        if self._stage is ThoughtStage.OVER:
            return False
        self._tail += piece
        if self._stage is ThoughtStage.BEFORE:
            self._look_for_begin()
            return False
        self._tokens += 1
        end = self._ending.end
        if end in self._tail:
            self._stage = ThoughtStage.OVER
            return False
        self._tail = self._tail[-max(len(end) - 1, UTF8_TAIL_BYTES) :]
        over = self._tokens - self.budget
        if over < 0:
            return False
        # Half a mark or half a character may become a whole one, but not for ever.
        self._waited += 1
        due = self._waited > len(end) or not (_ends_in_part(self._tail, end) or _is_cut(self._tail))
        if due:
            self._stage = ThoughtStage.OVER
        return due

    def _look_for_begin(self) -> None:
        begin = self._ending.begin
        text = self._tail.lstrip()
        if text.startswith(begin):
            self._stage, self._tail = ThoughtStage.INSIDE, text[len(begin) :]
        elif not begin.startswith(text):
            self._stage = ThoughtStage.OVER


class AnswerScope:
    """Tells the words of an answer from the thought before them, as the text of one choice comes. Belongs to the loop's
    thread."""

    def __init__(self, ending: ThoughtEnding) -> None:
        self._begin, self._end = ending.begin, ending.end
        self._stage = ThoughtStage.INSIDE if ending.inside else ThoughtStage.BEFORE
        self._tail = b""
        """What may be part of a mark."""
        self._undecided = b""
        """What may be the beginning of a thought, or of the words."""
        self._blank = False
        """Whether nothing but blanks came behind the thought."""

    def split(self, data: bytes, letters: bytes) -> tuple[bytes, bytes]:
        """Of more text, what belongs to the thought, with the blanks behind it, and what to the words. `letters` is the
        same with those of marks that are control tokens."""
        if self._stage is ThoughtStage.INSIDE:
            return self._look_for_end(data, letters)
        if self._stage is ThoughtStage.OVER:
            return self._skip_blanks(data)
        self._tail += letters
        self._undecided += data
        text = self._tail.lstrip()
        if not text.startswith(self._begin) and self._begin.startswith(text):
            return b"", b""
        undecided = self.finish()
        if not text.startswith(self._begin):
            self._stage = ThoughtStage.OVER
            return b"", undecided
        self._stage, self._tail = ThoughtStage.INSIDE, b""
        return self._look_for_end(undecided, text[len(self._begin) :])

    def finish(self) -> bytes:
        """What is still undecided."""
        undecided, self._undecided = self._undecided, b""
        return undecided

    def _look_for_end(self, data: bytes, letters: bytes) -> tuple[bytes, bytes]:
        self._tail += letters
        _, end, behind = self._tail.partition(self._end)
        if not end:
            self._tail = self._tail[-max(len(self._end) - 1, 1) :]
            return data, b""
        self._stage, self._blank = ThoughtStage.OVER, True
        _, words = self._skip_blanks(behind)
        return data[: len(data) - len(words)], words

    def _skip_blanks(self, data: bytes) -> tuple[bytes, bytes]:
        words = data.lstrip() if self._blank else data
        self._blank = self._blank and not words
        return data[: len(data) - len(words)], words


def choose_thought_budget(request: Generation, room: int, usual: int) -> int | None:
    """Tokens that a thought of an answer to `request` may have; None for any number.

    Where a call must come, or the answer is held to a form, and nothing else bounds the thought, it may have `usual`
    tokens, and half of those that the answer may have at most: of `room` tokens, which the context has left, or of the
    request's own limit. A thought that took them all would leave an answer that is none.
    """
    called = request.tool_choice is Calling.REQUIRED or isinstance(request.tool_choice, CallOf)
    held = request.constraint is not None or (called and bool(request.callable_tools))
    if not held or request.reasoning.budget is not None:
        return request.reasoning.budget
    return min(usual, min(room, request.max_tokens or room) // 2)


def _ends_in_part(text: bytes, mark: bytes) -> bool:
    return any(text.endswith(mark[:length]) for length in range(1, len(mark)))


def _is_cut(text: bytes) -> bool:
    """Whether the last character of UTF-8 is not whole."""
    for back in range(1, min(UTF8_TAIL_BYTES, len(text)) + 1):
        byte = text[-back]
        if byte < 0x80:
            return False
        if byte >= 0xC0:
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
    return False
