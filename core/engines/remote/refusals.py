"""Refusals of a server as our errors: one sentence each, with the address in it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec

from core.errors import BenchtopError, EngineFailed, Overloaded, QueueTimeout, RequestError

MOST_CHARACTERS = 500
"""Characters of a server's own words that are repeated."""
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""Statuses after which the server is asked again."""
UNFIT = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class RemoteTimeout(QueueTimeout):
    """The request waited too long in the queue of the server elsewhere."""

    def __init__(self, address: str, waited: float, words: str) -> None:
        Overloaded.__init__(self, f"The server at {address} gave up after {waited:.0f} s{_quoted(words)}.")
        self.waited = waited


def translate_refusal(
    address: str, status: int, body: bytes, headers: Mapping[str, str], *, path: str, waited: float
) -> BenchtopError:
    """The error that a status other than 200 stands for."""
    words = read_message(body)
    if status in UNFIT:
        return RequestError(words or f"The server at {address} refused the request ({status}).", read_field(body))
    if status in DENIED:
        return EngineFailed(
            f"The server at {address} wants another API key than it was sent ({status}); "
            "set remote_api_key in the model section of the config file, or BENCHTOP_MODEL_REMOTE_API_KEY."
        )
    if status in BUSY:
        return Overloaded(f"The server at {address} is too busy to answer ({status}){_quoted(words)}.")
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        return RemoteTimeout(address, waited, words)
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED) and "model" not in words.lower():
        return RequestError(f"The server at {address} does not offer {path} ({status}).")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        there = urlsplit(clean_words(headers.get("location", ""))).netloc or "elsewhere"
        return EngineFailed(f"The server at {address} sends its clients on to {there}; give that address instead.")
    return EngineFailed(f"The server at {address} failed ({status}){_quoted(words)}.")


def read_message(body: bytes | str) -> str:
    """The message of an error body, in any of the forms that servers write it; empty when there is none."""
    return clean_words(_message(_decoded(body)))


def read_field(body: bytes) -> str | None:
    match _decoded(body):
        case {"error": {"param": str(field)}}:
            return clean_words(field) or None
    return None


def clean_words(text: str) -> str:
    """Words of others made fit for a terminal and a log: one line, no control characters, not too long."""
    plain = "".join(character if character.isprintable() else " " for character in text[: MOST_CHARACTERS * 2])
    plain = " ".join(plain.split())
    return plain if len(plain) <= MOST_CHARACTERS else f"{plain[:MOST_CHARACTERS]}..."


def _decoded(body: bytes | str) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _message(body: object) -> str:
    match body:
        case {"error": {"message": str(words)}} | {"error": str(words)}:  # OpenAI and most; some gateways
            return words
        case {"message": str(words)} | {"detail": str(words)}:  # older vLLM; FastAPI
            return words
    return ""


def _quoted(words: str) -> str:
    return f": {words.rstrip('.')}" if words else ""
