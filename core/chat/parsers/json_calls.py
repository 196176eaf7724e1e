"""Calls written as JSON objects with a name and arguments, singly or in a list, behind a mark of a family's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from core.chat.parsers.family import CallOpening, CallSyntax, GrammarTerms
from core.chat.parsers.grammar import WrittenJson, write_json_calls, write_json_opening
from core.chat.parsers.json_arguments import mend_arguments, read_call_arguments
from core.chat.parsers.json_text import NAMELESS, UNREADABLE, decode_text, read_string, read_value
from core.chat.parsers.open_call import tell_call
from core.chat.parsers.pieces import CallCut, NotACall
from core.chat.parsers.unread import Reading, UnreadText
from core.requests import Tool

NAME_KEYS: Final = ("name", "tool_name", "function_name", "function", "tool", "action")
ARGUMENT_KEYS: Final = ("arguments", "parameters", "args", "params", "input", "tool_arguments", "kwargs")
FIRST_KEYS: Final = tuple(json.dumps(key) for key in (*NAME_KEYS, *ARGUMENT_KEYS, "type", "id", "tool_call_id"))
"""What the object of a call may begin with, where no mark says that it is one."""
FENCE: Final = "```json\n"
"""What some models write in place of their family's mark."""
_LINE: Final = "\n{"
"""What some begin a call with amid words, where the first name in the object is that of a tool."""
_PLAIN_FENCE: Final = "```\n"
_CALL_MEMBERS: Final = (
    r'\s*+(?:"(?:type|id|tool_call_id)"\s*+:\s*+"[^"]*+"\s*+,\s*+)*'
    r'(?:"function"\s*+:\s*+\{\s*+)?"(?:name|tool_name|function_name|function|tool|action)"\s*+:\s*+'
    r'"(?P<name>[^"\\]{1,256})"'
)
CALL_OBJECT: Final = rf"\s*+(?:\[\s*+)?+\{{\{{?+{_CALL_MEMBERS}"
"""The beginning of an object that is a call where the name is that of a tool, whatever follows. It is
looked for behind each token, so blanks are never divided anew among its parts."""
BARE_CALL: Final = rf"\s*+(?:{FENCE})?+{CALL_OBJECT}"
FENCED_CALL: Final = f"{FENCE}{CALL_OBJECT}"
_LINE_CALL: Final = rf"\n\{{\{{?+{_CALL_MEMBERS}"
NO_OBJECT: Final = "A call's arguments are no JSON object."


class JsonCalls(CallSyntax):
    """Reads objects and lists of them until something else comes; a closing mark that is missing is none the worse.

    Arguments are handed out as they grow where the name stands before them, which is where models write it.
    """

    def __init__(
        self,
        written: WrittenJson,
        begins: tuple[str, ...] = (),
        ends: tuple[str, ...] = (),
        *,
        starts: tuple[str, ...] = (),
        keyed: bool = False,
    ) -> None:
        """`starts`: brackets that begin a call without any mark, where an answer begins; `keyed`: whether an object may
        have a tool's name as its one member, and the arguments in that."""
        self.begins = begins
        self.starts = starts
        self.marks = (*begins, *ends)
        self._written = written
        if starts:
            opening = write_json_opening(written)
            self.openings = (CallOpening(BARE_CALL, opening, anywhere=False),)
            if FENCE in starts:
                self.fences = (FENCE, _PLAIN_FENCE + "{", _LINE)
                self.openings = (*self.openings, CallOpening(FENCED_CALL, opening), CallOpening(_LINE_CALL, opening))
        self.ends = ends
        self._keyed = keyed

    def read(self, mark: str, unread: UnreadText) -> Reading[None]:
        if mark in self.starts or mark in self.fences:
            unread.put_back()
            yield from unread.skip_blanks()
            yield from unread.literal(FENCE, _PLAIN_FENCE)
            if mark in self.starts:
                yield from _require_key(unread)
            else:
                yield from _require_tool(unread)
            unread.put_back()
            yield from unread.skip_blanks()
            yield from unread.literal(FENCE, _PLAIN_FENCE)
        lists = 0
        while True:
            lists += yield from _skip_all(unread, "[")
            yield from self._read_object(unread)
            if lists:
                yield from _skip_all(unread, "]")
            yield from unread.skip_blanks()
            yield from unread.literal(",", ";")
            yield from unread.skip_blanks()
            unread.drop()
            if not (yield from _goes_on(unread)):
                break
        yield from unread.closing(*self.ends)

    def _read_object(self, unread: UnreadText) -> Reading[None]:
        """No JSON begins with two braces; Qwen 2.5's template shows its calls that way, and its models write what they
        see."""
        opening = yield from unread.literal("{{", "{")
        if opening is None:
            raise CallCut() if (yield from unread.at_end()) else NotACall(UNREADABLE)
        members = _CallMembers()
        try:
            yield from self._read_members(unread, members)
            if opening == "{{":
                yield from unread.skip_blanks()
                yield from unread.literal("}")
        except CallCut:
            if not members.told or unread.calling:
                raise
            unread.drop()
        if not members.told:
            members.tell(unread)

    def _read_members(self, unread: UnreadText, members: _CallMembers) -> Reading[None]:
        """Those of an object whose bracket was read."""
        while True:
            yield from unread.skip_blanks()
            if (yield from unread.literal("}")) is not None:
                return
            key = decode_text((yield from _read_quoted(unread)))
            yield from unread.skip_blanks()
            if (yield from unread.literal(":")) is None:
                raise CallCut() if (yield from unread.at_end()) else NotACall(UNREADABLE)
            yield from unread.skip_blanks()
            letter = yield from unread.more(1)
            if letter == "{" and key == "function":
                unread.take(1)
                yield from self._read_members(unread, members)
            elif letter == '"' and key in NAME_KEYS and members.name is None:
                members.name = decode_text((yield from read_string(unread)))
            elif letter == "{" and (name := self._find_name(key, members)) is not None:
                members.told = True
                yield from read_call_arguments(unread, name)
            else:
                members.values[key] = yield from read_value(unread)
            yield from unread.skip_blanks()
            yield from unread.literal(",")

    def _find_name(self, key: str, members: _CallMembers) -> str | None:
        """Of the tool whose arguments a member holds, where that is known before the arguments are read."""
        if members.told or key in NAME_KEYS:
            return None
        if key in ARGUMENT_KEYS:
            return members.name
        return key if self._keyed and members.name is None else None

    def write_grammar(self, tools: Sequence[Tool], terms: GrammarTerms, *, several: bool) -> str:
        return write_json_calls(tools, terms, self._written, self.ends, several=several)


class _CallMembers:
    """What an object tells of a call."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.told = False
        self.values: dict[str, str] = {}
        """The JSON of other members."""

    def tell(self, unread: UnreadText) -> None:
        """Tell the call of an object that was read to its end. Raises NotACall where it is none."""
        if self.name is None:
            raise NotACall(NAMELESS)
        given = next((self.values[key] for key in ARGUMENT_KEYS if key in self.values), "null")
        if given.startswith('"'):
            # Some models write the object as a text of its JSON.
            given = decode_text(given)
        if given.strip() in ("null", ""):
            given = "{}"
        try:
            arguments = mend_arguments(given.strip(), None)
        except NotACall as error:
            raise NotACall(NO_OBJECT) from error
        tell_call(unread, self.name, arguments)


def _skip_all(unread: UnreadText, bracket: str) -> Reading[int]:
    """Read all of these brackets that stand here, and blanks around them; how many there are."""
    count = 0
    yield from unread.skip_blanks()
    while (yield from unread.literal(bracket)) is not None:
        count += 1
        yield from unread.skip_blanks()
    return count


def _goes_on(unread: UnreadText) -> Reading[bool]:
    """Whether another object or list stands here. Marks of some families begin as a list does."""
    ahead = yield from unread.more(2)
    return ahead[:1] == "{" or (ahead[:1] == "[" and ahead[1:] in ("", "{", "[", " ", "\n"))


def _read_quoted(unread: UnreadText) -> Reading[str]:
    letter = yield from unread.more(1)
    if not letter:
        raise CallCut
    if letter != '"':
        raise NotACall(UNREADABLE)
    return (yield from read_string(unread))


def _require_key(unread: UnreadText) -> Reading[None]:
    """Raises NotACall, in silence, where an object or the first of a list does not begin as a call does."""
    yield from unread.skip_blanks()
    while (yield from unread.literal("[", "{")) is not None:
        yield from unread.skip_blanks()
    if (yield from unread.literal(*FIRST_KEYS)) is None:
        raise NotACall("")


def _require_tool(unread: UnreadText) -> Reading[None]:
    """Raises NotACall, in silence, where an object does not begin with the name of one of the request's tools."""
    yield from unread.literal("{{", "{")
    while True:
        yield from unread.skip_blanks()
        key = yield from unread.literal(*FIRST_KEYS)
        yield from unread.skip_blanks()
        if key is None or (yield from unread.literal(":")) is None:
            raise NotACall("")
        yield from unread.skip_blanks()
        if key == '"function"' and (yield from unread.literal("{")) is not None:
            continue
        if (yield from unread.more(1)) != '"':
            raise NotACall("")
        try:
            value = decode_text((yield from read_string(unread)))
        except CallCut as error:
            raise NotACall("") from error
        if json.loads(key) in NAME_KEYS:
            break
        yield from unread.skip_blanks()
        yield from unread.literal(",")
    if value not in unread.gate.schemas.tools:
        raise NotACall("")
