"""Events of a response's stream as bytes: numbered, and framed for the transport they go over."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.openai.responses.resource import ENCODER, StreamEvent

SPLIT: Final = "\N{SYMBOL FOR NULL}"


class Framing(Struct, frozen=True):
    """What stands around the JSON of an event."""

    named: bool
    """Whether the event's type goes before it, as server-sent events have it."""
    end: bytes
    """From the object's last brace on."""

    def begin(self, kind: str) -> bytes:
        return f"event: {kind}\ndata: ".encode() if self.named else b""


SERVER_SENT: Final = Framing(named=True, end=b"}\n\n")
MESSAGES: Final = Framing(named=False, end=b"}")


def frame_lane(lane: str) -> Framing:
    """Messages of one of several streams of a WebSocket, each of which says of which it is."""
    return Framing(named=False, end=b',"stream_id":' + ENCODER.encode(lane) + b"}")


class DeltaFrame(Struct, frozen=True):
    """An event of which nothing but its number and its text differs from the next one's."""

    before: bytes
    between: bytes
    """Of number and text."""
    after: bytes


class EventWriter:
    """Numbers events from zero. Without a framing it writes nothing."""

    def __init__(self, framing: Framing | None) -> None:
        self._framing = framing
        self._frames: list[bytes] = []
        self._number = 0

    def take(self) -> list[bytes]:
        """The frames since the last take, one an event."""
        frames, self._frames = self._frames, []
        return frames

    def write(self, event: StreamEvent) -> None:
        if self._framing is None:
            return
        event.sequence_number = self._number
        self._number += 1
        self._frames.append(self._framing.begin(event.type) + ENCODER.encode(event)[:-1] + self._framing.end)

    def prepare(self, event: StreamEvent) -> DeltaFrame:
        """Of an event whose `delta` is `SPLIT`."""
        if self._framing is None:
            return DeltaFrame(b"", b"", b"")
        event.sequence_number = 0
        data = ENCODER.encode(event)[:-1]
        head, tail = data.split(b'"sequence_number":0', 1)
        between, after = tail.rsplit(ENCODER.encode(SPLIT), 1)
        before = self._framing.begin(event.type) + head + b'"sequence_number":'
        return DeltaFrame(before, between, after + self._framing.end)

    def write_delta(self, frame: DeltaFrame, text: str) -> None:
        """The hot path: one for each token."""
        if self._framing is not None:
            number, self._number = self._number, self._number + 1
            self._frames.append(
                b"%b%d%b%b%b" % (frame.before, number, frame.between, ENCODER.encode(text), frame.after)
            )
