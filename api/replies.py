"""A bare ASGI reply: bytes out, without a response object's detours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar.types import Send

Headers = tuple[tuple[bytes, bytes], ...]


async def send_bytes(send: Send, status: int, content_type: bytes, body: bytes, headers: Headers = ()) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
