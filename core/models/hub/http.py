"""Requests to the Hub: their headers, their client, and what failures and refusals mean."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from core.errors import GatedRepository, HubBusy, HubError, HubUnreachable, RepositoryNotFound
from core.models.hub.endpoint import HubAccess
from core.retry import retry_after

if TYPE_CHECKING:
    import httpx

TOKEN_HINT: Final = "set HF_TOKEN to a token of yours, or run `hf auth login`"  # noqa: S105
LONGEST_BELIEVED_SECONDS: Final = 24 * 3600
"""A longer Retry-After counts as none: the Hub's own limits last five minutes."""
PASSING_STATUSES: Final = (408, 409, 425, 500, 502, 503, 504)


@contextmanager
def raise_hub_errors(access: HubAccess, url: str) -> Iterator[None]:
    """Raise what httpx raises inside, for a request to `url`, as HubError; as HubUnreachable where it may pass."""
    import httpx

    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects, ValueError) as error:
        raise _misnamed(url, error) from error
    except httpx.RequestError as error:
        raise _unreachable(access, error) from error


def translate_refusal(response: httpx.Response, access: HubAccess, repo: str | None, path: str) -> HubError:
    """What an answer with an error status means, in a sentence; HubUnreachable where it may pass by itself. The codes
    are those of the Hub's `X-Error-Code`."""
    status, code = response.status_code, response.headers.get("x-error-code")
    named, wait = repo or "what was asked for", retry_after(response.headers)
    wait = wait if wait is not None and wait <= LONGEST_BELIEVED_SECONDS else None
    if status == 429:
        when = "in a few minutes" if wait is None else f"in {math.ceil(wait)} s"
        hint = "" if access.token else f", or {TOKEN_HINT}, which allows more"
        return HubBusy("The Hub asks for fewer requests.", f"Try again {when}{hint}.", wait)
    if status in PASSING_STATUSES:
        return HubUnreachable(f"The Hub failed with status {status}.", "Try again in a few minutes.", wait)
    if code == "GatedRepo":
        return GatedRepository(_gated(named, access))
    if code == "EntryNotFound":
        return RepositoryNotFound(f"{named} has no file {path} in this revision; look at its list of files again.")
    if code == "RevisionNotFound":
        return RepositoryNotFound(f"{named} has no such revision; check what follows its name, or leave it out.")
    if status == 401 and access.token and code != "RepoNotFound":
        return GatedRepository(f"The Hub does not know the token that was sent; {TOKEN_HINT} anew, or unset HF_TOKEN.")
    if code == "RepoNotFound" or status in (401, 404):
        return RepositoryNotFound(
            f"The Hub has no repository {named}, or hides it: check the name; if it is private, {TOKEN_HINT}."
        )
    if status == 403:
        return GatedRepository(f"The Hub refuses {named}; {TOKEN_HINT} that may read it.")
    return HubError(f"The Hub answered with status {status} when asked for {named}; try again later.")


def _gated(repo: str, access: HubAccess) -> str:
    page = f"{access.endpoint}/{repo}"
    if access.token:
        return f"The owner of {repo} has not let you in yet: accept the terms at {page}, and wait for the answer."
    return f"The owner of {repo} wants to be asked first: accept the terms at {page}, then {TOKEN_HINT}."


def build_headers(access: HubAccess, *, own: bool, start: int = 0) -> dict[str, str]:
    """`start`: the first byte to ask for. `own`: whether the Hub itself is asked, which alone may see the token."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "benchtop"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if own and access.token:
        headers["Authorization"] = f"Bearer {access.token}"
    return headers


def build_client(timeout: httpx.Timeout | float, *, follow_redirects: bool = False) -> httpx.Client:
    """Raises HubError where the environment names a proxy that cannot be used."""
    import httpx

    try:
        return httpx.Client(timeout=timeout, follow_redirects=follow_redirects)
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise HubError(
            f"The proxy that the environment names cannot be used ({str(error).rstrip('.')}); correct HTTP_PROXY, "
            "HTTPS_PROXY and ALL_PROXY."
        ) from error


def _misnamed(url: str, error: Exception) -> HubError:
    """The error for an address that cannot be asked: the Hub's, that of a redirect, or the proxy's."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2] or url[:200]
    return HubError(
        f"{host!r} is no address of a Hub that can be asked ({_why(error)}); "
        "correct HF_ENDPOINT, and HTTP_PROXY if it is set."
    )


def _unreachable(access: HubAccess, error: httpx.RequestError) -> HubUnreachable:
    """Names the host that was asked, which need not be the Hub's: it sends on to others for the content."""
    import httpx

    try:
        host = error.request.url.host
    except RuntimeError:
        host = urlsplit(access.endpoint).hostname or access.endpoint
    silent = "disconnected without" in str(error)
    if isinstance(error, httpx.DecodingError | httpx.RemoteProtocolError) and not silent:
        return HubUnreachable(
            f"What {host} answers is broken off or damaged ({_why(error)}).",
            "Try again, and check HF_ENDPOINT and the proxy.",
        )
    return HubUnreachable(
        f"No answer came from {host} ({_why(error)}).", "Check the network, and HF_ENDPOINT if it is set."
    )


def _why(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
