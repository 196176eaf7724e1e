"""Keeps requests with their replies, where the user asked for that. It stands behind the guard: what it turns away, and
what bears a wrong key, is not kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

from api.http.keys import find_key
from core.capture.exchange import CapturedRequest, keep_headers
from core.capture.ring import CaptureRing

JSON: Final = "application/json"


class Captured:
    """What one request and its reply have come to so far. Of either, no more than `most` bytes are held."""

    def __init__(self, scope: HTTPScope, most: int) -> None:
        self._scope = scope
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
            self._body_bytes += _hold(self._body, message["body"], self._most - self._body_bytes)

    def give(self, message: Message) -> None:
        """What the application sends."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._type = next(
                (value for name, value in message["headers"] if name.lower() == b"content-type"), b""
            ).decode("latin-1")
        elif message["type"] == "http.response.body" and message["body"]:
            if self._first is None:
                self._first = time.monotonic() - self._since
            self._reply_bytes += _hold(self._reply, message["body"], self._most - self._reply_bytes)

    def close(self) -> CapturedRequest:
        query = self._scope["query_string"].decode("latin-1")
        return CapturedRequest(
            request_id=str(self._scope["state"]["request_id"]),
            began=self._began,
            seconds=time.monotonic() - self._since,
            method=self._scope["method"],
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
        captured = Captured(scope, self._ring.most_bytes)

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
            headers: Mapping[bytes, bytes] = dict(scope["headers"])
            self._ring.add(captured.close(), (find_key(headers),))


def _hold(parts: list[bytes], piece: bytes, room: int) -> int:
    """Append what there is room for; the bytes of the whole piece."""
    if room > 0:
        parts.append(piece[:room])
    return len(piece)


def _is_json(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    return kind.partition(b";")[0].strip().lower() == JSON.encode()
