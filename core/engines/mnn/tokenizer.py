"""MNN's own tokenizer, for folders that bring no tokenizer.json."""

from __future__ import annotations

import re

from core.engines.mnn.folder import Controls
from core.engines.mnn.native import Llm


class MnnTokenizer:
    """`size` is the width of the logits: MNN does not tell the size of its vocabulary."""

    def __init__(self, llm: Llm, controls: Controls, size: int) -> None:
        self._llm = llm
        self._prefix = list(controls.prefix)
        self._ends = frozenset(controls.ends)
        self._silent = frozenset(controls.special) | self._ends
        self.size = size
        self.controls = frozenset(llm.decode(token).decode("utf-8", "replace") for token in self._silent) - {""}
        longest_first = sorted(self.controls, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def encode(self, text: str, *, special: bool, begin: bool = False) -> list[int]:
        # Neither a lone surrogate nor a zero byte gets through to native code as text.
        clean = text.encode("utf-8", "replace").decode().replace("\0", "")
        parts = [clean] if special else self._plain(clean)
        tokens = [token for part in parts for token in self._llm.encode(part)[len(self._prefix) :]]
        if begin and self._prefix and tokens[: len(self._prefix)] != self._prefix:
            return [*self._prefix, *tokens]
        return tokens

    def piece(self, token: int) -> bytes:
        if token in self._silent or not 0 <= token < self.size:
            return b""
        return self._llm.decode(token)

    def is_end(self, token: int) -> bool:
        return token in self._ends

    def _plain(self, text: str) -> list[str]:
        """The text, cut behind the first character of what would be read as a control token."""
        if self._control is None:
            return [text]
        cuts = [found.start() + 1 for found in self._control.finditer(text)]
        return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
