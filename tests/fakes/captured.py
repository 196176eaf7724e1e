"""Exchanges as a server would have kept them."""

import json
from collections.abc import Mapping

from core.capture.exchange import CapturedRequest


def exchange_of(
    request_id: str,
    body: Mapping[str, object] | None = None,
    *,
    reply: bytes = b"",
    reply_type: str = "application/json",
    path: str = "/v1/chat/completions",
    began: float = 1_000.0,
    status: int = 200,
    first: float | None = None,
) -> CapturedRequest:
    """Of a POST with a JSON body."""
    text = json.dumps({"model": "echo"} if body is None else body).encode()
    return CapturedRequest(
        request_id,
        began,
        0.5,
        "POST",
        path,
        text,
        reply,
        status,
        first=first,
        reply_type=reply_type,
        body_bytes=len(text),
        reply_bytes=len(reply),
    )
