"""The models of running servers, for lists of models."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from core.contract.artifact import URL
from core.errors import ModelNotFound
from core.models.library.scan import LibraryEntry, Location
from core.models.paths import read_url
from core.names import drop_password

MOST_MODELS: Final = 1_000
"""Models that are listed of one server."""
MOST_ANSWER_BYTES: Final = 4 << 20
"""Bytes of a server's answer."""


class _ServedModel(Struct):
    id: str


class _Models(Struct):
    data: list[_ServedModel] = []


def ask_servers(urls: Sequence[str], timeout: float = 1.0) -> tuple[LibraryEntry, ...]:
    """What servers at these addresses say at `/v1/models`, each asked for `timeout` seconds at most, all at once.

    A server that does not answer is one entry with the reason.
    """
    if not urls:
        return ()
    with ThreadPoolExecutor(min(8, len(urls)), "servers") as pool:
        found = list(pool.map(lambda url: _ask(url, timeout), urls))
    return tuple(entry for entries in found for entry in entries)


def _ask(url: str, timeout: float) -> list[LibraryEntry]:
    import httpx

    try:
        address = read_url(url)
    except ModelNotFound as error:
        return [_failed(drop_password(url), str(error))]
    try:
        # The environment's proxy is not asked for servers that the user named.
        with (
            httpx.Client(timeout=timeout, trust_env=False) as client,
            client.stream("GET", f"{address.url}/models") as answer,
        ):
            answer.raise_for_status()
            body = b""
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > MOST_ANSWER_BYTES:
                    return [_failed(address.name, "its list of models is too long")]
        models = msgspec.json.decode(body, type=_Models).data[:MOST_MODELS]
    except httpx.HTTPStatusError as error:
        return [_failed(address.name, f"it answers with status {error.response.status_code}")]
    except httpx.HTTPError as error:
        return [_failed(address.name, f"it does not answer ({type(error).__name__})")]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return [_failed(address.name, "its list of models cannot be read")]
    except (ValueError, httpx.InvalidURL) as error:
        # The name of a host that cannot be looked up.
        return [_failed(address.name, f"it is no address that can be asked ({str(error).rstrip('.')})")]
    return [_entry(f"{address.name}#{model.id}") for model in models]


def _entry(name: str) -> LibraryEntry:
    return LibraryEntry(name, Path(), URL, 0, False, location=Location.SERVER)


def _failed(name: str, why: str) -> LibraryEntry:
    return LibraryEntry(name, Path(), None, 0, False, why, Location.SERVER)
