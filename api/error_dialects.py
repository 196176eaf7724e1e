"""The dialect in which a request's errors are told."""

from __future__ import annotations

from collections.abc import Mapping

from api.anthropic.errors import ANTHROPIC_ERRORS, PATH, VERSION
from api.http.errors import OPENAI_ERRORS, ErrorDialect
from api.llama_cpp.errors import CHAT_PATHS, NATIVE_CHAT_ERRORS, NATIVE_ERRORS, PATHS
from api.ollama.errors import OLLAMA_ERRORS, PREFIX
from api.reranking.errors import find_rerank_errors


def choose_errors(path: str, headers: Mapping[bytes, bytes]) -> ErrorDialect:
    """By its path, and by the header that clients of Anthropic's send with every request."""
    if path.startswith(PREFIX):
        return OLLAMA_ERRORS
    if path.startswith(PATH) or VERSION in headers:
        return ANTHROPIC_ERRORS
    if path in CHAT_PATHS:
        return NATIVE_CHAT_ERRORS
    return find_rerank_errors(path) or (NATIVE_ERRORS if path in PATHS else OPENAI_ERRORS)
