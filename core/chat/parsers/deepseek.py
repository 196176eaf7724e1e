"""DeepSeek: R1 and V3 with fenced JSON, V3.1 with JSON alone, V3.2 and later with tags of their own (DSML)."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.grammar import CallTags
from core.chat.parsers.json_arguments import read_call_arguments
from core.chat.parsers.json_text import NAMELESS
from core.chat.parsers.named_calls import NamedCalls, NamedMarks, read_tool_name
from core.chat.parsers.pieces import NotACall
from core.chat.parsers.tagged_calls import TaggedCalls
from core.chat.parsers.unread import Reading, UnreadText

_BAR: Final = "\uff5c"
"""A vertical line of full width."""
DSML: Final = f"{_BAR}DSML{_BAR}"
SECTION: Final = f"<{_BAR}tool▁calls▁begin{_BAR}>"
_SECTION_END: Final = f"<{_BAR}tool▁calls▁end{_BAR}>"
_BEGIN: Final = f"<{_BAR}tool▁call▁begin{_BAR}>"
_SEPARATOR: Final = f"<{_BAR}tool▁sep{_BAR}>"
_END: Final = f"<{_BAR}tool▁call▁end{_BAR}>"


class _FencedCalls(NamedCalls):
    """V3.1 has a name where V3 has the kind of the tool, and the name behind it. Reads both."""

    def read_name(self, unread: UnreadText) -> Reading[str]:
        name = yield from read_tool_name(unread)
        yield from unread.skip_blanks()
        if (yield from unread.literal(_SEPARATOR)) is None:
            raise NotACall(NAMELESS)
        if name == "function" and (yield from unread.more(1)) != "{":
            name = yield from read_tool_name(unread)
        return name

    def read_arguments(self, unread: UnreadText, name: str) -> Reading[None]:
        fence = yield from unread.literal("```json", "```")
        yield from unread.skip_blanks()
        yield from read_call_arguments(unread, name)
        if fence is not None:
            yield from unread.skip_blanks()
            yield from unread.literal("```")


DEEPSEEK_V3: Final = _FencedCalls(
    NamedMarks(_BEGIN, "\n```json\n", f"\n```{_END}", SECTION, _SECTION_END, prefix=f"function{_SEPARATOR}"),
    _END,
)
DEEPSEEK_V31: Final = _FencedCalls(NamedMarks(_BEGIN, _SEPARATOR, _END, SECTION, _SECTION_END))


def make_dsml(section: str) -> TaggedCalls:
    """Of V3.2, whose section is `function_calls`, or of V4, whose section is `tool_calls`."""
    return TaggedCalls(
        CallTags(
            f'<{DSML}invoke name="',
            f"</{DSML}invoke>",
            f'<{DSML}parameter name="',
            f"</{DSML}parameter>",
            name_end='">',
            frame=f"<{DSML}{section}>",
            frame_end=f"</{DSML}{section}>",
            typed=(('" string="true">', True), ('" string="false">', False)),
        ),
        within_frame=True,
    )


DEEPSEEK_V32, DEEPSEEK_V4 = make_dsml("function_calls"), make_dsml("tool_calls")
