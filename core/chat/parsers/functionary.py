"""MeetKai's Functionary: v3.1 with `<function=name>{...}</function>`, v3.2 with turns to recipients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import CallOpening, ChatFamily, GrammarTerms, ThinkingPhase, read_calls
from core.chat.parsers.grammar import join_choices
from core.chat.parsers.json_arguments import read_call_arguments
from core.chat.parsers.named_calls import NamedCalls, NamedMarks, read_tool_name
from core.chat.parsers.pieces import NotACall
from core.chat.parsers.unread import MarkSet, Reading, UnreadText
from core.requests import Tool

TURN: Final = ">>>"
EVERYBODY: Final = "all"
FUNCTIONARY_31: Final = NamedCalls(NamedMarks("<function=", ">", "</function>"))


class RecipientCalls(NamedCalls):
    """`>>>name`, a line end, and the arguments. The prompt has written the first mark."""

    openings = (
        CallOpening(r"\s*(?P<name>[^\s<>]{1,256})\n", "NAME\n", anywhere=False),
        CallOpening(r">>>\s*(?P<name>[^\s<>]{1,256})\n", "NAME\n"),
    )

    def __init__(self) -> None:
        super().__init__(NamedMarks(TURN, "\n"))
        # What it begins is a turn to a tool or to everybody.
        self.begins, self.turns = (), (TURN,)

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        name = yield from read_tool_name(unread)
        if (yield from unread.literal("\n")) is None:
            raise NotACall("")
        yield from unread.skip_blanks()
        yield from read_call_arguments(unread, name)

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        told = [f"{terms.mark(f'{tool.name}' + chr(10))} {terms.arguments(tool)}" for tool in tools]
        more = f" ({terms.mark(TURN)} call)*" if several else ""
        return f"calls: call{more}\ncall: {join_choices(told)}\n"


class RecipientFamily(ChatFamily, frozen=True):
    """What is said to everybody is words, and what is said to a tool is a call."""

    @property
    def always(self) -> bool:
        return True

    def parse(self, unread: UnreadText, phase: ThinkingPhase, *, calls: bool) -> Reading[None]:
        turns = MarkSet((TURN,))
        assert self.calls is not None
        mark = TURN
        while mark:
            yield from unread.skip_blanks()
            yield from unread.literal(TURN)
            if (yield from unread.literal(f"{EVERYBODY}\n")) is not None:
                unread.drop()
            elif calls:
                yield from read_calls(self.calls, mark, unread)
            else:
                unread.say_read()
            mark = yield from unread.say_until(turns)
        unread.end()


FUNCTIONARY_32: Final = RecipientCalls()
