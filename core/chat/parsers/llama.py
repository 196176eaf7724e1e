"""Meta's Llama 3: JSON where an answer begins; behind `<|python_tag|>` JSON, calls of built-in tools, or Python."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import FENCE, JsonCalls
from core.chat.parsers.json_text import encode_arguments
from core.chat.parsers.python_text import read_python_arguments
from core.chat.parsers.unread import MarkSet, Reading, UnreadText

PYTHON_TAG: Final = "<|python_tag|>"
CODE_TOOL: Final = "code_interpreter"
"""Takes what is Python and no call, as `code`."""
_BUILT_IN: Final = ".call("
_NOTHING: Final = MarkSet(())


class LlamaCalls(JsonCalls):
    def __init__(self) -> None:
        written = WrittenJson("", keys=("name", "parameters"), between="; ")
        super().__init__(written, (PYTHON_TAG,), ("```",), starts=("{", FENCE))

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        if mark != PYTHON_TAG:
            yield from super().read(mark, unread)
            return
        yield from unread.skip_blanks()
        if (yield from unread.more(1)) == "{":
            yield from super().read(mark, unread)
            return
        name, found = yield from unread.text_until(MarkSet((_BUILT_IN, "(", " ", "\n")))
        if found == _BUILT_IN:
            unread.call(name, (yield from read_python_arguments(unread)))
            return
        rest, _ = yield from unread.text_until(_NOTHING)
        unread.call(CODE_TOOL, encode_arguments({"code": f"{name}{found}{rest}"}))


LLAMA: Final = LlamaCalls()
