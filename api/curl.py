"""Lines for a shell that ask a server something, fit for the kind of model, and safe to be shown and kept."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import Final

from core.settings.environment import name_variable
from core.snapshots import ModelKind

KEY_VARIABLE: Final = name_variable(("server", "api_keys"))
"""Stands in a line for a key of the user's own, which would go into scroll-back and service logs otherwise."""
QUESTION: Final = "What is a KV cache?"
DOCUMENTS: Final = ("It keeps keys and values of tokens.", "Cats sleep a lot.")
RECORDING: Final = "speech.wav"


def format_curl(
    url: str, model: str, kind: ModelKind = ModelKind.CHAT, *, asks_for_key: bool = False, made_key: str | None = None
) -> str:
    """A line that asks `model` at the server `url` (without a path) something.

    Where the server asks for a key, that is one which was `made_key` for this run; the user's own is taken from the
    variable that the settings are read from, so that the line works where a key stands there. For `cmd.exe` on Windows,
    else for a POSIX shell. `model` may hold anything.
    """
    words = ["curl", f"{url}/v1/{_path(kind)}"]
    if asks_for_key or made_key:
        words += ["-H", f"Authorization: Bearer {made_key or _MARK}"]
    return _quote_words([*words, *_body(model, kind)])


_MARK: Final = "BENCHTOP-KEY-GOES-HERE"


def _path(kind: ModelKind) -> str:
    match kind:
        case ModelKind.CHAT:
            return "chat/completions"
        case ModelKind.EMBEDDING:
            return "embeddings"
        case ModelKind.RERANKING:
            return "rerank"
        case ModelKind.TRANSCRIPTION:
            return "audio/transcriptions"


def _body(model: str, kind: ModelKind) -> list[str]:
    """JSON in ASCII, so that no character of a name is anything else to a terminal."""
    match kind:
        case ModelKind.TRANSCRIPTION:
            # The string as it stands: plain -F takes a name that begins with @ or < for a file's. One that cannot be
            # shown is left out; the server answers with the model it serves.
            named = ["--form-string", f"model={model}"] if model.isprintable() else []
            return ["-F", f"file=@{RECORDING}", *named]
        case ModelKind.EMBEDDING:
            body: dict[str, object] = {"model": model, "input": QUESTION}
        case ModelKind.RERANKING:
            body = {"model": model, "query": QUESTION, "documents": list(DOCUMENTS)}
        case ModelKind.CHAT:
            body = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
    return ["-H", "Content-Type: application/json", "-d", json.dumps(body)]


def _quote_words(words: list[str]) -> str:
    if sys.platform == "win32":
        return subprocess.list2cmdline(words).replace(_MARK, f"%{KEY_VARIABLE}%")
    return " ".join(_shell_word(word) for word in words)


def _shell_word(word: str) -> str:
    if _MARK in word:
        # In double quotes, which let the variable through; nothing else in the word means anything there.
        return f'"{word.replace(_MARK, f"${KEY_VARIABLE}")}"'
    return shlex.quote(word)
