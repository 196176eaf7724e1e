"""MiniCPM 5: `<function name="f"><param name="a">...</param></function>`, texts quoted as XML quotes them."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import CallTags
from core.chat.parsers.tagged_calls import TaggedCalls

MINICPM: Final = TaggedCalls(
    CallTags('<function name="', "</function>", '<param name="', "</param>", name_end='">', gap="", quoted=True)
)
