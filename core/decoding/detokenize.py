"""From tokens' bytes to text that is safe to show: whole characters, nothing that may yet become a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

REPLACEMENT = "\ufffd"
MOST_CUT_BYTES = 3
"""Bytes of a character that is not complete; some decoders write a replacement for each."""


def count_held(text: str, stops: Sequence[str]) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of a stop string."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest


class CutEnd:
    """For text that comes as text: some servers write U+FFFD for the beginning of a character where a limit cut it.

    One at the end is held back until it is clear whether the text goes on behind it.
    """

    def __init__(self) -> None:
        self._held = ""

    def push(self, text: str) -> str:
        """More text; returns what may be shown."""
        text = self._held + text
        whole = text.rstrip(REPLACEMENT)
        if len(text) - len(whole) > MOST_CUT_BYTES:
            # No single character becomes so many: they are the text.
            whole = text
        self._held = text[len(whole) :]
        return whole

    def finish(self, *, cut: bool) -> str:
        """No more will come; `cut` says that a limit ended the text, which then is left out."""
        held, self._held = self._held, ""
        return "" if cut else held


class Margin:
    """Ends a text before the first letter of a line that begins too far to the left. The first line may begin
    anywhere."""

    def __init__(self, indent: int) -> None:
        """`indent`: blanks and tabs that the others begin with at least."""
        self.crossed = False
        self._indent = indent
        self._blanks: int | None = None
        """With which the line begins, so far; None behind them."""

    def cut(self, text: str) -> str:
        """As much of more text as is within."""
        if self.crossed or (self._blanks is None and "\n" not in text):
            return "" if self.crossed else text
        for at, letter in enumerate(text):
            if self._blanks is not None and letter in " \t":
                self._blanks += 1
            elif self._blanks is not None and self._blanks < self._indent:
                self.crossed = True
                return text[:at]
            else:
                self._blanks = 0 if letter == "\n" else None
        return text


def decode_whole(data: bytes) -> str:
    """The text of `data`, without the character that its end cuts; invalid bytes become U+FFFD."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


class TextStream:
    """Decodes incrementally, at a cost per token that does not grow with the text.

    Bytes of an unfinished UTF-8 character are held back (at most three), and left out where the text ends with them:
    nobody wrote that character. An invalid byte becomes U+FFFD and does not hold up what follows. Text that may turn
    out to begin a stop string is held back until it is clear.
    """

    def __init__(self, stops: Sequence[str] = (), indent: int = 0) -> None:
        """`indent`: blanks and tabs that each line after the first must begin with; the text ends before what one with
        fewer says."""
        self._stops = tuple(stops)
        self._margin = Margin(indent) if indent else None
        self._plain = not self._stops and self._margin is None
        """Whether nothing but the model's own end ends the text."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.emitted = 0
        """Characters given out so far."""
        self.stopped: str | None = None
        """The stop string that came up; nothing is given out after it."""

    @property
    def closed(self) -> bool:
        """Whether nothing is given out any more."""
        return self.stopped is not None or self.outdented

    @property
    def outdented(self) -> bool:
        """Whether a line began too far to the left."""
        return self._margin is not None and self._margin.crossed

    @property
    def seen(self) -> int:
        """Characters decoded so far, held ones too."""
        return self.emitted + len(self._held)

    def push(self, data: bytes) -> str:
        """More bytes; returns the text that may now be shown, perhaps none."""
        return self._advance(self._decoder.decode(data))

    def push_free(self, data: bytes) -> str:
        """The same of bytes in which no stop string counts, and before which nothing is held back."""
        text = self._decoder.decode(data)
        self.emitted += len(text)
        return text

    def finish(self) -> str:
        """No more will come: what was held back, save the beginning of a character. Nothing after a stop string."""
        held, self._held = self._held, ""
        return self._give_out(held)

    def _give_out(self, text: str) -> str:
        if self._margin is not None:
            text = self._margin.cut(text)
        self.emitted += len(text)
        return text

    def _advance(self, text: str) -> str:
        if self._plain:
            self.emitted += len(text)
            return text
        if self.closed:
            return ""
        return self._give_out(self._cut(self._held + text) if self._stops else text)

    def _cut(self, pending: str) -> str:
        starts = [(pending.find(stop), stop) for stop in self._stops]
        found = [(start, -len(stop), stop) for start, stop in starts if start >= 0]
        if found:
            start, _, self.stopped = min(found)
            self._held = ""
            return pending[:start]
        held = count_held(pending, self._stops)
        self._held = pending[len(pending) - held :]
        return pending[: len(pending) - held]
