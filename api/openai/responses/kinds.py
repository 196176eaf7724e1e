"""What an item or a tool is, before anything else is read of it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from api.http.settle import JsonBody


class PartKind(Struct):
    type: str | None = None
    role: str | None = None
    id: str | None = None


KIND: Final = JsonBody(PartKind)
