"""A bare ASGI reply: bytes out, without a response object's detours."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from litestar import Response

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

Headers = tuple[tuple[bytes, bytes], ...]
Content = TypeVar("Content")


def add_headers(content: Content, headers: Headers, status: int = 200) -> Response[Content]:
    """What a handler returns, with headers of its own."""
    named = {name.decode(): value.decode() for name, value in headers}
    return Response(content, status_code=status, headers=named)


class JsonReply:
    """An ASGI application that answers with one JSON document."""

    def __init__(self, body: bytes, headers: Headers = ()) -> None:
        self._body = body
        self._headers = headers

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await send_bytes(send, 200, b"application/json", self._body, self._headers)


async def send_bytes(send: Send, status: int, content_type: bytes, body: bytes, headers: Headers = ()) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
