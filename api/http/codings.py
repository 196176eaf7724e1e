"""Bodies that come compressed, undone piece by piece, so that none grows beyond what a body may have."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from typing import Final

from litestar.types import Receive, ReceiveMessage

from api.http.errors import BodyTooLarge, UnknownCoding
from core.errors import RequestError

PIECE_BYTES: Final = 64 * 1024
"""Bytes that are undone at a time."""

_GZIP: Final = 16 + zlib.MAX_WBITS


def read_coding(values: Iterable[bytes]) -> str | None:
    """The coding that the Content-Encoding headers name; None for a body without a coding.

    Raises UnknownCoding for any that is not undone here, and for one upon another.
    """
    whole = b",".join(values).decode("latin-1").lower()
    named = [coding for coding in (part.strip() for part in whole.split(",")) if coding not in ("", "identity")]
    if not named:
        return None
    known = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
    if len(named) > 1 or named[0] not in known:
        raise UnknownCoding(", ".join(named))
    return known[named[0]]


class Inflated:
    """`receive`, with the body decompressed. Its messages hold at most `PIECE_BYTES` bytes.

    Raises BodyTooLarge as soon as there are more than `limit` bytes, and RequestError for what is not compressed so. No
    bound is set on the ratio: repeated text is worth a thousand to one, and `limit` bounds memory and time alone.
    """

    def __init__(self, receive: Receive, coding: str, limit: int) -> None:
        self._receive = receive
        self._coding = coding
        self._limit = limit
        self._size = 0
        self._inflate: zlib._Decompress | None = None
        self._waiting = b""
        """Compressed bytes that are not looked at yet."""
        self._more = True
        """Whether more of them come."""
        self._over = False

    async def __call__(self) -> ReceiveMessage:
        while not self._over:
            if piece := self._next_piece():
                self._size += len(piece)
                if self._size > self._limit:
                    raise BodyTooLarge(self._limit)
                # Nothing else on this way waits for anything.
                await asyncio.sleep(0)
                return {"type": "http.request", "body": piece, "more_body": True}
            if not self._more:
                self._check_end()
                self._over = True
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._waiting += message["body"]
            self._more = message["more_body"]
        return await self._receive()

    def _next_piece(self) -> bytes:
        """Empty when more of the compressed bytes are needed, or none come."""
        while self._waiting:
            if self._inflate is None or (self._inflate.eof and self._coding == "gzip"):
                # A gzip file may have several members (RFC 1952, section 2.2).
                self._inflate = self._begin()
            if self._inflate is None:
                return b""
            if self._inflate.eof:
                raise RequestError(f"There is more in the body after the end of what {self._coding} made.")
            try:
                piece = self._inflate.decompress(self._waiting, PIECE_BYTES)
            except zlib.error:
                raise RequestError(f"The body is not well-formed {self._coding}, as its headers say.") from None
            self._waiting = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if piece:
                return piece
        return b""

    def _begin(self) -> zlib._Decompress | None:
        """None as long as it cannot be told how."""
        if self._coding == "gzip":
            return zlib.decompressobj(_GZIP)
        if len(self._waiting) < 2 and self._more:
            return None
        # "deflate" is zlib's format by RFC 9110, section 8.4.1.2, and bare by the habit of many.
        first = self._waiting[:2]
        framed = len(first) == 2 and first[0] & 0x0F == zlib.DEFLATED and int.from_bytes(first, "big") % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if framed else -zlib.MAX_WBITS)

    def _check_end(self) -> None:
        if self._inflate is not None and not self._inflate.eof:
            raise RequestError(f"The body ends before the end of what {self._coding} made.")
