"""The vocabulary of a GGUF model: text to tokens and back."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp as native

from core.errors import EngineError

LISTED_TOKENS = 65_536
"""Tokens of a text that are made into a list at once."""


class LlamaTokenizer:
    """The vocabulary of a loaded model. llama.cpp's vocabulary is constant once loaded, so any thread may use it."""

    def __init__(self, model: native.llama_model_p) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._closed = False
        self.vocab = native.llama_model_get_vocab(model)
        self.size: int = native.llama_vocab_n_tokens(self.vocab)
        self._pieces: dict[int, bytes] = {}
        self.ends = frozenset(token for token in range(self.size) if native.llama_vocab_is_eog(self.vocab, token))
        self._first = self._tokenize("", special=True, begin=True)
        self.controls = frozenset(self.text(token) for token in range(self.size) if self._is_control(token)) - {""}

    def close(self) -> None:
        """Before the model is freed, and the vocabulary with it: returns when nobody reads it any more. What is not
        known by then raises EngineError."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._users)

    def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        tokens = self._tokenize(text, special=special, begin=begin)
        # Many chat templates write the beginning-of-sequence token that the vocabulary adds by itself.
        if begin and self._first and tokens[: 2 * len(self._first)] == self._first * 2:
            return tokens[len(self._first) :]
        return tokens

    def piece(self, token: int) -> bytes:
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read_piece(token)
        return found

    def is_end(self, token: int) -> bool:
        return token in self.ends

    def text(self, token: int) -> str:
        """How the vocabulary writes a token, control tokens too; empty where there is no such token."""
        if not 0 <= token < self.size:
            return ""
        with self._reading():
            return (native.llama_vocab_get_text(self.vocab, token) or b"").decode("utf-8", "replace")

    def special_text(self, token: int) -> str:
        """The same of a token that is no ordinary text: llama.cpp names an ordinary one where a file tells of none."""
        text = self.text(token)
        ordinary = text and native.llama_vocab_get_attr(self.vocab, token) & native.LLAMA_TOKEN_ATTR_NORMAL
        return "" if ordinary else text

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._changed:
            if self._closed:
                raise EngineError("The model was freed, and its vocabulary with it.")
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def _is_control(self, token: int) -> bool:
        return bool(native.llama_vocab_is_control(self.vocab, token))

    def _tokenize(self, text: str, *, special: bool, begin: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        while True:
            buffer = (native.llama_token * room)()
            with self._reading():
                count = native.llama_tokenize(self.vocab, data, len(data), buffer, room, begin, special)
            if count >= 0:
                # By strides: to make a list lets no other thread run.
                tokens: list[int] = []
                for at in range(0, count, LISTED_TOKENS):
                    tokens += buffer[at : min(count, at + LISTED_TOKENS)]
                return tokens
            room = -count

    def _read_piece(self, token: int) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            with self._reading():
                count = native.llama_token_to_piece(self.vocab, token, buffer, room, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            room = -count
