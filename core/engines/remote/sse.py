"""Server-sent events as they come in pieces: the data of each event, nothing else of it."""

from __future__ import annotations

from core.errors import EngineFailed

DONE = b"[DONE]"
"""The data of the last event of OpenAI's streams."""
LONGEST = 8 * 1024 * 1024
"""Bytes an event may have; a server that sends more without an end is none."""


class EventSplitter:
    """Takes bytes as they arrive, gives the data of events that are complete.

    Comments (keep-alives) and fields other than `data` are dropped. Lines end with LF or CRLF.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._held = 0

    def push(self, piece: bytes) -> list[bytes]:
        """The data of the events that `piece` completes. Raises EngineFailed for one that does not end."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        events = [event for line in lines if (event := self._line(line.removesuffix(b"\r"))) is not None]
        if len(self._rest) + self._held > LONGEST:
            raise EngineFailed(f"The server sent an event of more than {LONGEST} bytes.")
        return events

    def finish(self) -> list[bytes]:
        """What was left when the stream ended, for servers that leave out the last empty line."""
        return [event for event in (self._line(self._rest), self._line(b"")) if event is not None]

    def _line(self, line: bytes) -> bytes | None:
        """The data of the event that an empty line ends."""
        if line.startswith(b"data:"):
            data = line[5:].removeprefix(b" ")
            self._data.append(data)
            self._held += len(data)
        if line or not self._data:
            return None
        event = b"\n".join(self._data)
        self._data.clear()
        self._held = 0
        return event
