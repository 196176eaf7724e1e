"""A file at the Hub: its size and checksum, where its bytes are, and which of them an answer holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from msgspec import Struct

from core.errors import HubError
from core.models.hub.endpoint import ETAG, HubAccess
from core.models.hub.http import build_headers, raise_hub_errors, translate_refusal
from core.retry import Transient

if TYPE_CHECKING:
    import httpx

MOST_REDIRECTS = 5
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
SIZE = re.compile(r"\d{1,18}", re.ASCII)


class Remote(Struct, frozen=True):
    commit: str
    etag: str
    """Fit to be the name of a file."""
    size: int
    """Bytes."""
    url: str
    """Where the content is; signed and short-lived where it is another host's."""
    own: bool
    """The Hub itself answers there, so the token may be sent."""


def look_up_file(client: httpx.Client, access: HubAccess, repo: str, revision: str, path: str) -> Remote:
    """Ask the Hub about a file without fetching it. Raises HubError.

    A redirect within the Hub is followed. One to another host is not: the answer that redirects carries the headers
    that count, `X-Repo-Commit`, `X-Linked-Etag` and `X-Linked-Size`.
    """
    url = access.url(repo, revision, path)
    for _ in range(MOST_REDIRECTS):
        with raise_hub_errors(access, url):
            response = client.head(url, headers=build_headers(access, own=True))
        if response.is_error:
            raise translate_refusal(response, access, repo, path)
        target = urljoin(url, response.headers.get("location", url))
        if not response.has_redirect_location or not _same_origin(url, target):
            return _remote(response, access, repo, path, target, own=not response.has_redirect_location)
        url = target
    raise HubError(f"{access.shown} redirects {path} of {repo} in circles; try again later.")


def _remote(response: httpx.Response, access: HubAccess, repo: str, path: str, url: str, *, own: bool) -> Remote:
    headers = response.headers
    etag = headers.get("x-linked-etag", headers.get("etag", "")).removeprefix("W/").strip('"')
    size = headers.get("x-linked-size") or ("" if response.has_redirect_location else headers.get("content-length", ""))
    commit = headers.get("x-repo-commit", "")
    if not ETAG.fullmatch(etag) or not SIZE.fullmatch(size) or not commit:
        raise HubError(
            f"{access.shown} does not answer as a Hub does when asked for {path} of {repo}; check HF_ENDPOINT "
            "and the proxy."
        )
    return Remote(commit, etag, int(size), url, own)


def find_first_byte(response: httpx.Response, path: str, size: int, have: int) -> int:
    """At which byte of a file of `size` bytes the body of an answer begins, when all from byte `have` on was asked for.

    Raises Transient for an answer that cannot be a part of that file, before anything of it is taken.
    """
    told = response.headers.get("content-length", "")
    length = int(told) if told.isdecimal() else None
    if response.status_code == 200:
        start, expected = 0, size
    else:
        found = CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        if found is None or int(found[1]) != have or int(found[2]) >= size or found[3] not in ("*", str(size)):
            raise Transient(f"The Hub sent another part of {path} than the one asked for.")
        start, expected = have, int(found[2]) + 1 - have
    if length not in (None, expected):
        raise Transient(
            f"What answered sends {length} bytes in place of {expected} of {path}, so it is not the Hub: "
            "a proxy, or a network that wants a login."
        )
    return start


def _same_origin(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]
