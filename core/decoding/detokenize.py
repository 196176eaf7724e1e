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


def decode_whole(data: bytes) -> str:
    """The text of `data`, without the character that its end cuts; invalid bytes become U+FFFD."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


class TextStream:
    """Decodes incrementally, at a cost per token that does not grow with the text.

    Bytes of an unfinished UTF-8 character are held back (at most three), and left out where the text ends with them:
    nobody wrote that character. An invalid byte becomes U+FFFD and does not hold up what follows. Text that may turn
    out to begin a stop string is held back until it is clear.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.emitted = 0
        """Characters given out so far."""
        self.stopped: str | None = None
        """The stop string that came up; nothing is given out after it."""

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
        self.emitted += len(held)
        return held

    def _advance(self, text: str) -> str:
        if self.stopped is not None:
            return ""
        if not self._stops:
            self.emitted += len(text)
            return text
        pending = self._held + text
        ready = self._cut(pending)
        self.emitted += len(ready)
        return ready

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
