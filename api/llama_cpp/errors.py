"""Errors as llama.cpp's server tells them: its types, the status as the code, and the two numbers by which its clients
know how much too long a prompt is."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from api.http.errors import ErrorBody, ErrorDialect, ErrorReply, encode_headers, translate_error
from core.errors import ContextExceeded

EXCEEDED: Final = "exceed_context_size_error"
TYPES: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "unavailable_error",
}
"""By status; others have the same type as in OpenAI's dialect."""
PATHS: Final = frozenset(
    {
        *("/completion", "/completions", "/infill", "/tokenize", "/detokenize", "/apply-template", "/props", "/slots"),
    }
)
CHAT_PATHS: Final = frozenset({"/chat/completions", "/chat/completions/control", "/chat/completions/input_tokens"})
"""OpenAI's, at the place where llama.cpp has them too."""


class NativeError(Struct, frozen=True):
    code: int
    """The status."""
    message: str
    type: str
    param: str | None = None
    """The field that is wrong, as OpenAI tells it."""
    n_prompt_tokens: int | UnsetType = UNSET
    """Where a prompt is too long; so is the next."""
    n_ctx: int | UnsetType = UNSET


class NativeErrorBody(Struct, frozen=True):
    error: NativeError


def write_native_error(error: Exception, _: str = "") -> ErrorReply:
    refused = translate_error(error)
    told = refused.error
    body = NativeError(
        refused.status,
        told.message,
        find_native_type(error, refused.status, told.type),
        told.param,
        told.n_prompt_tokens,
        told.n_ctx,
    )
    return ErrorReply(refused.status, msgspec.json.encode(NativeErrorBody(body)), encode_headers(refused))


def write_chat_error(error: Exception, _: str = "") -> ErrorReply:
    """OpenAI's body, with llama.cpp's types."""
    refused = translate_error(error)
    kind = find_native_type(error, refused.status, refused.error.type)
    refused = replace(refused, error=replace(refused.error, type=kind))
    return ErrorReply(refused.status, refused.encode(), encode_headers(refused))


def find_native_type(error: Exception, status: int, usual: str) -> str:
    return EXCEEDED if isinstance(error, ContextExceeded) else TYPES.get(status, usual)


NATIVE_ERRORS: Final = ErrorDialect(write_native_error, NativeErrorBody, choose_status=int, tells_codes=False)
NATIVE_CHAT_ERRORS: Final = ErrorDialect(write_chat_error, ErrorBody, choose_status=int)
