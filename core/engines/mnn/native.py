"""The native side: one LLM of MNN, which holds one KV cache, and the text that MNN prints.

What each call does was read in pymnn/src/llm.h and transformers/llm/engine/src/llm.cpp of
https://github.com/alibaba/MNN. Calls hold the interpreter's lock from their beginning to their end.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from core.errors import EngineFailed, LoadFailed

Rows = npt.NDArray[np.float32]

INTERNAL_ERROR_STATUS: Final = 4
"""MNN's status after a pass that failed; the value it returned must not be touched then."""
STDOUT_DESCRIPTOR: Final = 1


class Printed:
    """What was printed meanwhile; filled when the block ends."""

    text = ""

    @property
    def complaint(self) -> str:
        """The last line, as the end of a sentence."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1].removeprefix("[Error]: ").rstrip(".") if lines else "MNN does not say why"


@contextmanager
def capture_output() -> Iterator[Printed]:
    """Catch what native code prints: MNN tells its troubles on standard output, which is the user's screen."""
    caught = Printed()
    try:
        kept = os.dup(STDOUT_DESCRIPTOR)
    except OSError:
        yield caught
        return
    with tempfile.TemporaryFile() as file:
        _flush()
        os.dup2(file.fileno(), STDOUT_DESCRIPTOR)
        try:
            yield caught
        finally:
            _flush()
            os.dup2(kept, STDOUT_DESCRIPTOR)
            os.close(kept)
            file.seek(0)
            caught.text = file.read().decode("utf-8", "replace")


def _library(name: str) -> Any:
    """The module behind `MNN.llm`, which has more than that passes on (`erase_history` above all)."""
    try:
        found = getattr(import_module("_mnncengine"), "llm", None)
    except ImportError as error:
        raise LoadFailed(name, f"The package MNN cannot be imported: {error}.") from error
    if found is None:
        raise LoadFailed(name, "This build of the package MNN has no LLM runtime; install another version of it.")
    return found


def _flush() -> None:
    """Both what Python holds back and what C does."""
    if sys.stdout is not None:
        sys.stdout.flush()
    ctypes.CDLL(None if os.name == "posix" else "ucrtbase").fflush(None)


class Llm:
    """One LLM. Belongs to one thread at a time, save `encode` and `decode`, which only read."""

    def __init__(self, native: Any, *, every: bool = False) -> None:
        self._native = native
        self._every = every

    @classmethod
    def create(cls, name: str, config: Path, settings: dict[str, object]) -> Llm:
        """Load the model of a config.json, with `settings` over what it says. Raises LoadFailed with MNN's words."""
        with capture_output() as said:
            native = _library(name).create(str(config), False)
            native.set_config(json.dumps(settings))
            loaded = native.load()
        if not loaded:
            raise LoadFailed(name, f"MNN will not load {name}: {said.complaint}.")
        return cls(native)

    def twin(self, name: str, graph: str) -> Llm:
        """Another LLM with the same weights and a KV cache of its own. `graph` is the file's name in the folder.

        MNN makes these for adapters: the graph of one refers to the weights of its base.
        """
        with capture_output() as said:
            made = self._native.create_lora(graph)
        if made is None:
            raise LoadFailed(name, f"MNN will not load {name} a second time: {said.complaint}.")
        return Llm(made, every=self._every)

    @property
    def held(self) -> int:
        """Tokens in the KV cache."""
        return int(self._native.get_current_history())

    def forward(self, tokens: Sequence[int], held: int, *, every: bool = False) -> Rows:
        """Append at least one token behind the first `held` of the cache; forgets the others.

        Logits (1, vocabulary) of the last token, or with `every` (tokens, vocabulary). Raises EngineFailed.
        """
        if self.held > held:
            self._native.erase_history(held, 0)
        # A generation under way takes a graph that is laid out for one token; others are laid out anew each time.
        self._native.set_context({"gen_seq_len": int(len(tokens) == 1), "all_seq_len": held, "status": 0})
        if every != self._every:
            self._native.set_config(json.dumps({"all_logits": every}))
            self._every = every
        value = self._native.forward(list(tokens))
        if self._native.get_context()["status"] == INTERNAL_ERROR_STATUS:
            del value
            raise EngineFailed("MNN failed to compute a step; see whether the model's files are complete.")
        rows = np.array(value.read(), np.float32)
        return rows.reshape(-1, rows.shape[-1])

    def encode(self, text: str) -> list[int]:
        """Token ids, control tokens parsed, the vocabulary's prefix before them."""
        tokens: list[int] = self._native.tokenizer_encode(text)
        return tokens

    def decode(self, token: int) -> bytes:
        """The bytes of a token."""
        try:
            text: str = self._native.tokenizer_decode(token)
        except UnicodeDecodeError as error:
            # The binding makes text of what may be a part of a character; the error has the bytes.
            return error.object
        return text.encode()
