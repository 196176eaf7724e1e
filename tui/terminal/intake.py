"""What a terminal sends, from bytes to text: nothing that comes can end the reading of keys.

Bytes that are no UTF-8 come in everyday use: a mouse report of the oldest kind after tmux is attached again, a paste
from a Latin-1 file, noise of a line. Sequences are cut off where a connection or a paste breaks off in the middle.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

HOLD_SECONDS: Final = 0.3
"""Seconds that the rest of a character or of a sequence may take to come."""
ESCAPE_HOLD_SECONDS: Final = 0.05
"""Seconds after which an escape is the key."""
PASTE_HOLD_SECONDS: Final = 2.0
"""Seconds of silence after which a paste without an end is over."""
MOST_SEQUENCE_BYTES: Final = 64
"""Bytes of a sequence, at most."""

PASTE_BEGIN: Final = b"\x1b[200~"
PASTE_END: Final = b"\x1b[201~"
MOUSE: Final = b"\x1b[M"
"""Begins a mouse report of X10. Three bytes follow, button and place plus 32 each: no UTF-8 beyond column 95."""
_SEQUENCE: Final = re.compile(rb"\x1b\[[0-9;:<=>?]*[ -/]*")
_STRANGE: Final = {
    # A byte that is not UTF-8 is a letter of Windows' Latin-1, if any; 255 is noise rather than the letter.
    0xDC00 + byte: bytes((byte,)).decode("cp1252", "replace") if byte != 0xFF else None
    for byte in range(0x80, 0x100)
}


class Intake:
    """Give it what was read and when; what it returns is text that a parser of keys may have."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = b""
        """The beginning of a sequence whose rest has not come."""
        self._pasting = False
        self._last = 0.0
        """When something came, in seconds."""

    @property
    def waits(self) -> bool:
        """Whether the rest of something may still come."""
        return bool(self._held)

    def take(self, data: bytes, now: float) -> str:
        """The text of `data`, but for what must wait for its rest. Mouse reports of X10 are left out."""
        self._last = now
        data, self._held = self._held + data, b""
        out: list[bytes] = []
        while data:
            data = self._pasted(data, out) if self._pasting else self._typed(data, out)
        return self._decoded(b"".join(out))

    def wait(self, now: float) -> str:
        """Call it when nothing came for a while: what waits in vain is let go of. A sequence that was cut off is no
        text, so it is dropped; an escape alone is the key."""
        silent = now - self._last
        out = b""
        if self._held in (b"\x1b", b"\x1b[") and silent >= ESCAPE_HOLD_SECONDS:
            out, self._held = self._held, b""
        if silent >= HOLD_SECONDS:
            if self._pasting:
                out = _seen(self._held)
            self._held = b""
        text = self._decoded(out, final=silent >= HOLD_SECONDS)
        if self._pasting and silent >= PASTE_HOLD_SECONDS:
            self._pasting = False
            text += PASTE_END.decode()
        return text

    def _decoded(self, data: bytes, *, final: bool = False) -> str:
        return self._decoder.decode(data, final).translate(_STRANGE)

    def _pasted(self, data: bytes, out: list[bytes]) -> bytes:
        """Text of a paste, up to its end; the rest. A parser of keys would read the sequences in it as keys."""
        before, end, rest = data.partition(PASTE_END)
        if end:
            self._pasting = False
            out += [_seen(before), end]
            return rest
        kept = next((size for size in range(len(PASTE_END) - 1, 0, -1) if data.endswith(PASTE_END[:size])), 0)
        out.append(_seen(data[: len(data) - kept]))
        self._held = data[len(data) - kept :]
        return b""

    def _typed(self, data: bytes, out: list[bytes]) -> bytes:
        """Keys up to the next sequence, and that; the rest."""
        start = data.find(b"\x1b")
        if start != 0:
            out.append(data if start < 0 else data[:start])
            return b"" if start < 0 else data[start:]
        if data.startswith(PASTE_BEGIN):
            self._pasting = True
            out.append(PASTE_BEGIN)
            return data[len(PASTE_BEGIN) :]
        if data.startswith(MOUSE):
            if len(data) < len(MOUSE) + 3:
                self._held = data
                return b""
            return data[len(MOUSE) + 3 :]
        if data == b"\x1b":
            self._held = data
            return b""
        return self._sequence(data, out)

    def _sequence(self, data: bytes, out: list[bytes]) -> bytes:
        """A sequence with parameters, whole or not at all; the rest."""
        found = _SEQUENCE.match(data)
        if found is None:
            out.append(data[:1])
            return data[1:]
        end = found.end()
        if end == len(data) and end <= MOST_SEQUENCE_BYTES:
            self._held = data
            return b""
        final = data[end : end + 1]
        whole = b"@" <= final <= b"~"
        if end > MOST_SEQUENCE_BYTES or (not whole and end > 2):
            return data[end + whole :]
        out.append(data[: end + whole])
        return data[end + whole :]


def _seen(pasted: bytes) -> bytes:
    """With escapes as they are shown elsewhere."""
    return pasted.replace(b"\x1b", rb"\x1b")
