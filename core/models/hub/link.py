"""Questions to the Hub over HTTP: its JSON answers, and parts of files.

huggingface_hub's own listing retries five times and waits as long as a `Retry-After` says, without a time limit; here
somebody is looking at a screen, so each question is asked once, in bounded time. Its names, environment and token are
used all the same (see `read_hub_access`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urljoin, urlsplit

import msgspec
from msgspec import Struct

from core.errors import HubError, HubUnreachable
from core.models.hub.endpoint import HubAccess
from core.models.hub.http import build_client, build_headers, raise_hub_errors, translate_refusal
from core.sizes import format_size

if TYPE_CHECKING:
    import httpx

SILENCE_SECONDS: Final = 15.0
"""Seconds to connect, and between two pieces of an answer."""
ANSWER_SECONDS: Final = 60.0
"""Seconds that the body of an answer may take in all, however steadily it trickles."""
MOST_ANSWER_BYTES: Final = 64_000_000
"""Bytes of JSON; the listing of a repository of many thousand files is a tenth as long."""

Query = Sequence[tuple[str, str]]
Told = TypeVar("Told")


class HubResponse(Struct, frozen=True):
    body: bytes
    next: str | None = None
    """The address of the next page."""


class HubLink:
    """Asks one Hub. Safe to use from several threads; connections are kept until `close`."""

    def __init__(self, access: HubAccess) -> None:
        self.access = access
        self._client: httpx.Client | None = None

    def ask(self, path: str, query: Query = (), *, repo: str | None = None) -> HubResponse:
        """GET of an address below the endpoint, or of a page's `next`. Raises HubError."""
        url = urljoin(f"{self.access.endpoint}/", path)
        with self._answer(url, query, {}, repo, path) as response:
            body = _bounded(response, MOST_ANSWER_BYTES)
            return HubResponse(body, self._next(response))

    def part(self, repo: str, revision: str, path: str, start: int, length: int) -> bytes:
        """Up to `length` bytes of a file from `start` on. Raises HubError."""
        asked = {"Range": f"bytes={start}-{start + length - 1}"}
        with self._answer(self.access.url(repo, revision, path), (), asked, repo, path) as response:
            told = response.headers.get("content-range", "")
            if response.status_code == 206 and not told.startswith(f"bytes {start}-"):
                raise HubError(f"The Hub sent another part of {path} of {repo} than the one asked for; try again.")
            # A server or proxy that knows no ranges sends the whole file: skip the bytes before `start`.
            before = 0 if response.status_code == 206 else start
            return _bounded(response, before + length, cut=True)[before:]

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def _answer(
        self, url: str, query: Query, headers: Mapping[str, str], repo: str | None, path: str
    ) -> Iterator[httpx.Response]:
        self.access.require_network()
        if self._client is None:
            # On a redirect to another host httpx leaves the token behind.
            self._client = build_client(SILENCE_SECONDS, follow_redirects=True)
        sent = {**build_headers(self.access, own=True), **headers}
        with (
            raise_hub_errors(self.access, self.access.endpoint),
            self._client.stream("GET", url, params=list(query) or None, headers=sent) as response,
        ):
            if response.is_error:
                raise translate_refusal(response, self.access, repo, path)
            yield response

    def _next(self, response: httpx.Response) -> str | None:
        """The next page's address; None at the last page, and for one at another host, which must not see the token."""
        url = response.links.get("next", {}).get("url")
        return url if url and urlsplit(url)[:2] == urlsplit(self.access.endpoint)[:2] else None


def decode_answer(body: bytes, kind: type[Told], what: str) -> Told:
    """The Hub's JSON as a `kind`. `what` names the subject of the answer, for the error. Raises HubError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        # What is no UTF-8 is a ValueError.
        raise HubError(f"The Hub's answer about {what} cannot be understood ({error}); check HF_ENDPOINT.") from error


def _bounded(response: httpx.Response, most: int, *, cut: bool = False) -> bytes:
    """The body; with `cut` no more than `most` bytes of it are read, else a longer one raises HubError."""
    body = bytearray()
    end = time.monotonic() + ANSWER_SECONDS
    for piece in response.iter_bytes():
        body += piece
        if time.monotonic() > end:
            raise HubUnreachable(f"The Hub's answer did not end within {ANSWER_SECONDS:.0f} s.", "Try again later.")
        if len(body) >= most and cut:
            break
        if len(body) > most:
            raise HubError(f"The Hub's answer is longer than {format_size(most)}; it cannot be one.")
    return bytes(body[:most])
