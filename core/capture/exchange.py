"""A request as it came over HTTP, and the reply as it went: what is kept of them, and how long."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

KEPT_HEADERS: Final = frozenset(
    {"accept", "anthropic-beta", "anthropic-version", "content-type", "openai-beta", "user-agent", "x-request-id"}
)
"""All others are left out: any of them may hold a key."""
SOCKET_METHOD: Final = "WEBSOCKET"
"""Of a message that came over a WebSocket."""
REDACTED: Final = "[redacted]"
_SECRET = re.compile(
    # `X-Api-Key` and `OPENAI_API_KEY` too. A body that was cut may end within the value.
    rb'("(?:[\w-]{0,24}[_-])?'
    rb"(?:authorization(?:_token)?|api[_-]?key|(?:access|auth|bearer|refresh)[_-]?token|(?:client[_-]?)?secret|password)"
    rb'"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?\Z)',
    re.IGNORECASE,
)
_SECRET_ENDS: Final = (b"authorization", b'key"', b'token"', b'secret"', b'password"')
"""One of them stands, in small letters, wherever `_SECRET` finds something. They are found many times faster."""
_AS_STRING = rb'\1"' + REDACTED.encode() + b'"'
_QUERY_SECRET = re.compile(r"([?&](?:[\w-]{0,24}[_-])?(?:(?:api)?key|token|secret|password)=)[^&]*", re.IGNORECASE)


class _ModelNaming(Struct):
    """A body, as far as it names a model: the rest is made into no objects."""

    model: str = ""


_NAMING: Final = msgspec.json.Decoder(_ModelNaming)


class CapturedRequest(Struct, frozen=True):
    """One request with its reply. Times in seconds."""

    request_id: str
    began: float
    """Unix time."""
    seconds: float
    """Until the last byte of the reply, or until the client left."""
    method: str
    path: str
    """With its query."""
    body: bytes
    reply: bytes
    status: int
    """Zero where there was no reply."""
    first: float | None = None
    """Until the first byte of the reply's body."""
    headers: Mapping[str, str] = {}
    """Of the request, as `keep_headers` leaves them."""
    reply_type: str = ""
    """Content-Type of the reply."""
    body_bytes: int = 0
    """That the body had; more than `body` where it was too long to be kept."""
    reply_bytes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the request can be sent again."""
        return len(self.body) == self.body_bytes

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        texts = (self.request_id, self.path, self.reply_type, *self.headers, *self.headers.values())
        return 200 + len(self.body) + len(self.reply) + sum(map(len, texts))

    @property
    def model(self) -> str:
        """As the request names it; empty where it does not."""
        try:
            return _NAMING.decode(self.body.removeprefix(codecs.BOM_UTF8)).model
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return ""


def keep_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """What may be kept of a request's headers, by their names in small letters."""
    found = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
    return {name: value for name, value in found if name in KEPT_HEADERS}


def hide_secrets(text: bytes, keys: Iterable[bytes]) -> bytes:
    """Without the keys that are given, and without the values of members of JSON that hold secrets by their names."""
    for key in keys:
        if key:
            text = text.replace(key, REDACTED.encode())
    small = text.lower()
    return _SECRET.sub(_AS_STRING, text) if any(end in small for end in _SECRET_ENDS) else text


def hide_query_secrets(path: str, keys: Iterable[bytes]) -> str:
    """A path with its query, without the keys that are given, and without the values of parameters that hold secrets
    by their names."""
    for key in keys:
        if key:
            path = path.replace(key.decode("latin-1"), REDACTED)
    return _QUERY_SECRET.sub(rf"\1{REDACTED}", path)


def read_body(body: bytes) -> object:
    """The value of a JSON body; None for anything else."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        # ValueError is also what bytes that are not UTF-8 raise, and numbers of thousands of digits.
        return None
    return value
