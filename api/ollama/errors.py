"""Errors as Ollama's API tells them: one sentence, and its statuses."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from api.http.errors import ErrorDialect, ErrorReply, Refusal, encode_headers, translate_error
from core.errors import ContextExceeded, ModelNotFound, ModelUnable
from core.names import SHOWN_CHARACTERS

PREFIX: Final = "/api/"
STATUSES: Final[Mapping[int, int]] = {502: 500, 504: 503, 507: 500}
"""Its own in place of those that this API does not have."""


class OllamaError(Struct, frozen=True):
    error: str


def choose_ollama_status(status: int) -> int:
    return STATUSES.get(status, status)


def write_ollama_error(error: Exception, _: str = "") -> ErrorReply:
    refused = translate_error(error)
    status = HTTPStatus.BAD_REQUEST if isinstance(error, ModelUnable) else choose_ollama_status(refused.status)
    body = msgspec.json.encode(OllamaError(_reword(error, refused)))
    return ErrorReply(status, body, encode_headers(refused))


def _reword(error: Exception, refused: Refusal) -> str:
    """Clients look for the first words of a model that is not here, and offer to pull it. There is no field for the
    name of a wrong one, so the sentence has it; of a prompt that is too long it says all there is to say."""
    told, field = refused.error.message, refused.error.param
    if isinstance(error, ModelNotFound):
        return f"model '{error.model[:SHOWN_CHARACTERS]}' not found: {told}" if error.model else told
    named = field is None or field in told or isinstance(error, ContextExceeded)
    return told if named else f"{field}: {told}"


OLLAMA_ERRORS: Final = ErrorDialect(write_ollama_error, OllamaError, choose_ollama_status, tells_codes=False)
