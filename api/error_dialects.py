"""The dialect in which a request's errors are told."""

from __future__ import annotations

from collections.abc import Mapping

from api.anthropic.errors import ANTHROPIC_ERRORS, PATH, VERSION
from api.http.errors import OPENAI_ERRORS, ErrorDialect
from api.ollama.errors import OLLAMA_ERRORS, PREFIX


def choose_errors(path: str, headers: Mapping[bytes, bytes]) -> ErrorDialect:
    """By its path, and by the header that clients of Anthropic's send with every request."""
    if path.startswith(PREFIX):
        return OLLAMA_ERRORS
    return ANTHROPIC_ERRORS if path.startswith(PATH) or VERSION in headers else OPENAI_ERRORS
