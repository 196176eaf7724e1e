"""Keeps requests with their replies, where the user asked for that. It stands behind the guard: what it turns away, and
what bears a wrong key, is not kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send, WebSocketScope

from api.http.callers import find_caller
from api.http.keys import find_key
from core.capture.exchange import SOCKET_METHOD, CapturedRequest, keep_headers
from core.capture.ring import CaptureRing

LEAST_SECRET_BYTES: Final = 12
"""Of a key that a client shows where none is asked for. Shorter ones are words in place of one, such as `x` or `EMPTY`;
they stand in requests for other reasons, too."""
JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"


class Captured:
    """What one request and its reply have come to so far. Of either, no more than `most` bytes are held."""

    def __init__(self, scope: HTTPScope | WebSocketScope, method: str, most: int) -> None:
        self._scope = scope
        self._method = method
        self.request_id = str(scope["state"]["request_id"])
        self._most = most
        self._began, self._since = time.time(), time.monotonic()
        self._first: float | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._reply: list[bytes] = []
        self._reply_bytes = 0
        self._status = 0
        self._type = ""

    def take(self, message: ReceiveMessage) -> None:
        """What the application receives."""
        if message["type"] == "http.request":
            self.take_body(message["body"])

    def give(self, message: Message) -> None:
        """What the application sends."""
        if message["type"] == "http.response.start":
            kind = next((value for name, value in message["headers"] if name.lower() == b"content-type"), b"")
            self.begin_reply(message["status"], kind.decode("latin-1"))
        elif message["type"] == "http.response.body" and message["body"]:
            self.give_body(message["body"])

    def take_body(self, piece: bytes) -> None:
        self._body_bytes += _hold(self._body, piece, self._most - self._body_bytes)

    def begin_reply(self, status: int, media: str) -> None:
        self._status, self._type = status, media

    def give_body(self, piece: bytes) -> None:
        if self._first is None:
            self._first = time.monotonic() - self._since
        self._reply_bytes += _hold(self._reply, piece, self._most - self._reply_bytes)

    def close(self) -> CapturedRequest:
        query = self._scope["query_string"].decode("latin-1")
        return CapturedRequest(
            request_id=self.request_id,
            began=self._began,
            seconds=time.monotonic() - self._since,
            method=self._method,
            path=self._scope["path"] + (f"?{query}" if query else ""),
            body=b"".join(self._body),
            reply=b"".join(self._reply),
            status=self._status,
            first=self._first,
            headers=keep_headers(self._scope["headers"]),
            reply_type=self._type,
            body_bytes=self._body_bytes,
            reply_bytes=self._reply_bytes,
        )


class Capturing:
    """An application whose POSTs of JSON are kept in `ring`."""

    def __init__(self, app: ASGIApp, ring: CaptureRing) -> None:
        self._app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET or scope["method"] != "POST" or not _is_json(scope["headers"]):
            await self._app(scope, receive, send)
            return
        captured = Captured(scope, scope["method"], self._ring.most_bytes)

        async def receive_on() -> ReceiveMessage:
            message = await receive()
            captured.take(message)
            return message

        async def send_on(message: Message) -> None:
            captured.give(message)
            await send(message)

        try:
            await self._app(scope, receive_on, send_on)
        finally:
            # The workbench may have called it otherwise meanwhile, as another one went by that id already.
            captured.request_id = str(scope["state"]["request_id"])
            _keep(self._ring, captured, scope)


class SocketCapture:
    """Keeps what one WebSocket is asked, message by message, each with the events that answer it."""

    def __init__(self, scope: WebSocketScope, ring: CaptureRing) -> None:
        self._scope = scope
        self._ring = ring

    @contextmanager
    def keeping(self, message: bytes) -> Iterator[MessageCapture]:
        """The message is answered inside, and kept afterwards."""
        captured = Captured(self._scope, SOCKET_METHOD, self._ring.most_bytes)
        captured.take_body(message)
        try:
            yield MessageCapture(captured)
        finally:
            _keep(self._ring, captured, self._scope)


class MessageCapture:
    """One message of a WebSocket, while it is answered. The events are kept as a stream over HTTP has them."""

    def __init__(self, captured: Captured | None = None) -> None:
        """Without `captured`, nothing is kept."""
        self._captured = captured

    def call(self, request_id: str) -> None:
        """The request goes by this id."""
        if self._captured is not None:
            self._captured.request_id = request_id

    def give(self, frames: Iterable[bytes], status: int = 200) -> None:
        """JSON texts as they were sent; `status` is what a request over HTTP would have been answered with."""
        if self._captured is not None:
            self._captured.begin_reply(status, EVENTS)
            for frame in frames:
                self._captured.give_body(b"data: " + frame + b"\n\n")


def _keep(ring: CaptureRing, captured: Captured, scope: HTTPScope | WebSocketScope) -> None:
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    shown = find_key(headers)
    secret = find_caller(scope["state"]).name or len(shown) >= LEAST_SECRET_BYTES
    ring.add(captured.close(), (shown,) if secret else ())


def _hold(parts: list[bytes], piece: bytes, room: int) -> int:
    """Append what there is room for; the bytes of the whole piece."""
    if room > 0:
        parts.append(piece[:room])
    return len(piece)


def _is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    return kind.partition(b";")[0].strip().lower() == JSON.encode()
