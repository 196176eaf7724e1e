"""Keeps what this machine's own user asks without a server, as the chat screen does: the request by which a server is
asked the same, and the answer as a server would write it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from core.capture.exchange import CapturedRequest
from core.capture.ring import CaptureRing
from core.chat.openai_body import FINISH_REASONS, UNTOLD, Kind, build_body
from core.errors import Cancelled
from core.events import CallArguments, CallBegun, Event, ReasoningDelta, TextDelta
from core.requests import Conversation, Generation
from core.serving.stream import Stream

PATH: Final = "/v1/chat/completions"
HEADERS: Final = {"user-agent": "benchtop"}
DONE_STATUS: Final = 200


class OwnCapture:
    """Belongs to the event loop of its workbench."""

    def __init__(self, ring: CaptureRing) -> None:
        self._ring = ring

    def follow(self, request: Generation, stream: Stream, served: str, since: float) -> None:
        """Keep a conversation with what comes of it in `stream`, when that has ended. `served`: its model's name;
        `since`: when it came, as `time.monotonic` has it."""
        if isinstance(request.prompt, Conversation):
            answer = AnswerSoFar(self._ring.most_bytes)
            stream.follow_events(answer.take)
            stream.when_over(lambda: self._keep(request, stream, served, answer, since))

    def _keep(self, request: Generation, stream: Stream, served: str, answer: AnswerSoFar, since: float) -> None:
        seconds = time.monotonic() - since
        # A budget of thoughts is no field of this dialect elsewhere.
        asked = replace(request, reasoning=replace(request.reasoning, budget=None))
        body = build_body(asked.resolved(UNTOLD), served, Kind.OTHER)
        error, most = stream.end.error, self._ring.most_bytes
        failed = error is not None and not isinstance(error, Cancelled)
        reply = msgspec.json.encode({"error": {"message": str(error)}} if failed else answer.write(served, stream))
        exchange = CapturedRequest(
            request_id=stream.request_id,
            began=time.time() - seconds,
            seconds=seconds,
            method="POST",
            path=PATH,
            body=body[:most],
            reply=reply[:most],
            status=0 if failed else DONE_STATUS,
            first=None if stream.end.first is None else stream.end.first - since,
            headers=HEADERS,
            reply_type="application/json",
            body_bytes=len(body),
            reply_bytes=len(reply) + answer.left_out,
        )
        self._ring.add(exchange)


class AnswerSoFar:
    """The first choice of an answer, of which no more than `most` letters are held."""

    def __init__(self, most: int) -> None:
        self._room = most
        self.left_out = 0
        """Bytes that were not held."""
        self._words: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[tuple[CallBegun, list[str]]] = []

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case TextDelta(index=0, text=text):
                    self._hold(self._words, text)
                case ReasoningDelta(index=0, text=text):
                    self._hold(self._thoughts, text)
                case CallBegun(index=0):
                    self._calls.append((event, []))
                case CallArguments(index=0, text=text):
                    self._hold(self._calls[-1][1], text)
                case _:
                    pass

    def _hold(self, parts: list[str], text: str) -> None:
        if self._room > 0:
            parts.append(text)
        else:
            self.left_out += len(text.encode())
        self._room -= len(text)

    def write(self, served: str, stream: Stream) -> dict[str, object]:
        """As the answer of a server that does not stream, of a stream that has ended."""
        message: dict[str, object] = {"role": "assistant"}
        if self._thoughts:
            message["reasoning_content"] = "".join(self._thoughts)
        message["content"] = "".join(self._words)
        if self._calls:
            message["tool_calls"] = [
                {"id": begun.id, "type": "function", "function": {"name": begun.name, "arguments": "".join(pieces)}}
                for begun, pieces in self._calls
            ]
        finished = next(iter(stream.end.finished), None)
        reason = FINISH_REASONS[finished.reason] if finished is not None else None
        choice = {"index": 0, "message": message, "finish_reason": reason}
        row = stream.row()
        usage = {"prompt_tokens": row.prompt_tokens, "completion_tokens": row.completion_tokens}
        if finished is not None:
            used = finished.usage
            usage = {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
        return {
            "id": stream.request_id,
            "object": "chat.completion",
            "model": served,
            "choices": [choice],
            "usage": usage,
        }
