"""Meta's Llama 3: JSON where an answer begins; behind `<|python_tag|>` JSON, calls of built-in tools, or Python."""

from __future__ import annotations

import re
from typing import Final

from msgspec.structs import replace

from core.chat.parsers.grammar import WrittenJson
from core.chat.parsers.json_calls import FENCE, JsonCalls
from core.chat.parsers.open_call import MemberWriter
from core.chat.parsers.pieces import CallCut
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
        bare, *others = self.openings
        self.openings = (replace(bare, pattern=rf"(?:{re.escape(PYTHON_TAG)})?{bare.pattern}"), *others)

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
            yield from read_python_arguments(unread, name)
            return
        code = MemberWriter(unread, CODE_TOOL, typed=True)
        code.begin_text("code")
        code.add_text(f"{name}{found}")
        yield from unread.write_until(_NOTHING, code.add_text)
        if unread.cut:
            raise CallCut
        code.end_text()
        code.end()


LLAMA: Final = LlamaCalls()
