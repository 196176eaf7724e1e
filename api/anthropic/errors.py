"""Errors as Anthropic's API tells them: its body, its statuses, and the words by which its clients know what to do."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from api.http.errors import ErrorDialect, ErrorReply, Refusal, encode_headers, translate_error
from api.http.rate_headers import write_messages_rates
from core.errors import ContextExceeded

PATH: Final = "/v1/messages"
VERSION: Final = b"anthropic-version"
"""A header that clients of this dialect send with every request."""
OVERLOADED_STATUS: Final = 529
"""In place of 503, which this API does not have."""
TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    OVERLOADED_STATUS: "overloaded_error",
}


class MessagesError(Struct, frozen=True):
    type: str
    message: str


class MessagesErrorBody(Struct, frozen=True, tag_field="type", tag="error"):
    error: MessagesError
    request_id: str | None = None


def write_messages_error(error: Exception, request_id: str) -> ErrorReply:
    refused = translate_error(error)
    return ErrorReply(
        choose_messages_status(refused.status), encode_error(error, refused, request_id), encode_headers(refused)
    )


def encode_error(error: Exception, refused: Refusal, request_id: str) -> bytes:
    """The body. `refused` is what `translate_error` made of the error."""
    told = MessagesError(_find_type(choose_messages_status(refused.status)), _reword(error, refused))
    return msgspec.json.encode(MessagesErrorBody(told, request_id or None))


def choose_messages_status(status: int) -> int:
    return OVERLOADED_STATUS if status == HTTPStatus.SERVICE_UNAVAILABLE else status


def _find_type(status: int) -> str:
    return TYPES.get(status, TYPES[400] if status < HTTPStatus.INTERNAL_SERVER_ERROR else "api_error")


def _reword(error: Exception, refused: Refusal) -> str:
    """Clients look for the first words of a prompt that is too long, and compact their conversation. There is no field
    for the name of a wrong one, so the message has it."""
    told, field = refused.error.message, refused.error.param
    if isinstance(error, ContextExceeded):
        return (
            f"prompt is too long: {error.prompt_tokens} tokens > {error.context - 1} maximum; "
            "shorten it, or load the model with a larger --ctx-size."
        )
    return told if field is None or field in told else f"{field}: {told}"


ANTHROPIC_ERRORS: Final = ErrorDialect(
    write_messages_error,
    MessagesErrorBody,
    choose_messages_status,
    tells_codes=False,
    id_headers=(b"x-request-id", b"request-id"),
    write_rates=write_messages_rates,
)
