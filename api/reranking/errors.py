"""Errors as the servers tell them whose paths these are: Cohere, Jina and text-embeddings-inference."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from api.http.errors import Detail, ErrorDialect, ErrorReply, Refusal, encode_headers, translate_error

RERANK_PATH: Final = "/v1/rerank"
COHERE_PATH: Final = "/v2/rerank"
TEI_PATHS: Final = ("/rerank", "/embed")


class RerankErrorBody(Struct, frozen=True):
    """The words by which clients of OpenAI's kind, of Cohere and of Jina look for them: one path is all of theirs."""

    error: Detail
    message: str
    detail: str


class CohereErrorBody(Struct, frozen=True):
    message: str
    id: str


class TeiErrorBody(Struct, frozen=True):
    """As text-embeddings-inference has it."""

    error: str
    error_type: str


def _write(make: Callable[[Refusal, str], Struct]) -> Callable[[Exception, str], ErrorReply]:
    def write(error: Exception, request_id: str) -> ErrorReply:
        refused = translate_error(error)
        return ErrorReply(refused.status, msgspec.json.encode(make(refused, request_id)), encode_headers(refused))

    return write


def _tell_all(refused: Refusal, _: str) -> RerankErrorBody:
    return RerankErrorBody(refused.error, _reword(refused), _reword(refused))


def _tell_cohere(refused: Refusal, request_id: str) -> CohereErrorBody:
    return CohereErrorBody(_reword(refused), request_id)


def _tell_tei(refused: Refusal, _: str) -> TeiErrorBody:
    if refused.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        kind = "Overloaded"
    elif refused.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "Backend"
    else:
        kind = "Validation"
    return TeiErrorBody(_reword(refused), kind)


def _reword(refused: Refusal) -> str:
    """There is no field for the name of a wrong one, so the message has it."""
    told, field = refused.error.message, refused.error.param
    return told if field is None or field in told else f"{field}: {told}"


RERANK_ERRORS: Final = ErrorDialect(_write(_tell_all), RerankErrorBody, choose_status=int)
COHERE_ERRORS: Final = ErrorDialect(_write(_tell_cohere), CohereErrorBody, choose_status=int, tells_codes=False)
TEI_ERRORS: Final = ErrorDialect(_write(_tell_tei), TeiErrorBody, choose_status=int, tells_codes=False)


def find_rerank_errors(path: str) -> ErrorDialect | None:
    """Of the paths that have errors of their own; None for others."""
    if path in TEI_PATHS:
        return TEI_ERRORS
    return {RERANK_PATH: RERANK_ERRORS, COHERE_PATH: COHERE_ERRORS}.get(path)
