"""A bare ASGI reply: bytes out, without a response object's detours."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from litestar import Response

if TYPE_CHECKING:
    from litestar.types import Send

Headers = tuple[tuple[bytes, bytes], ...]
Content = TypeVar("Content")


def add_headers(content: Content, headers: Headers, status: int = 200) -> Response[Content]:
    """What a handler returns, with headers of its own."""
    named = {name.decode(): value.decode() for name, value in headers}
    return Response(content, status_code=status, headers=named)


async def send_bytes(send: Send, status: int, content_type: bytes, body: bytes, headers: Headers = ()) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
