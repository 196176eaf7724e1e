"""LiquidAI's LFM 2: a list of calls as Python writes them, between `<|tool_call_start|>` and `<|tool_call_end|>`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import CallSyntax, GrammarTerms
from core.chat.parsers.grammar import WrittenJson, join_choices, list_arguments, write_chain, write_text
from core.chat.parsers.json_calls import JsonCalls
from core.chat.parsers.python_text import read_python_call, require_comma
from core.chat.parsers.unread import Reading, UnreadText
from core.requests import Tool

_BEGIN, _END = "<|tool_call_start|>", "<|tool_call_end|>"
_JSON: Final = JsonCalls(WrittenJson(_BEGIN, _END, listed=True), (_BEGIN,), (_END,))


class PythonCalls(CallSyntax):
    """`[name(a="b"), other()]`; some of these models write JSON there."""

    begins = (_BEGIN,)
    ends = (_END,)
    marks = (_BEGIN, _END)

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        yield from unread.skip_blanks()
        if (yield from _looks_like_json(unread)):
            yield from _JSON.read(mark, unread)
            return
        listed = (yield from unread.literal("[")) is not None
        yield from read_python_call(unread)
        while listed:
            yield from require_comma(unread, "]")
            yield from unread.skip_blanks()
            if (yield from unread.literal("]")) is not None:
                break
            yield from read_python_call(unread)
        yield from unread.skip_blanks()
        yield from unread.closing(_END)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        rules: list[str] = []
        for number, tool in enumerate(tools):
            pairs = [
                (f"{write_text(f'{each.name}=')} {terms.value(tool, each.schema)}", each.required)
                for each in list_arguments(tool)
            ]
            chain, first = write_chain(f"arguments_{number}", pairs, ", ")
            rules += (f'call_{number}: {write_text(f"{tool.name}(")} {first} ")"', *chain)
        more = ' (", " call)*' if several else ""
        choices = join_choices(f"call_{number}" for number in range(len(tools)))
        head = f"calls: {terms.mark(f'{_BEGIN}[')} call{more} {terms.mark(f']{_END}')}\ncall: {choices}"
        return "\n".join((head, *rules, ""))


def _looks_like_json(unread: UnreadText) -> Reading[bool]:
    ahead = yield from unread.more(2)
    if ahead[:1] == "{":
        return True
    return ahead[:2] in ("[{", "[[")


PYTHONIC: Final = PythonCalls()
