"""Answers read by a schema that a model brings, or its user: JSON Schema with Hugging Face's `x-regex`, which finds a
value in a text, `x-regex-iterator`, which finds each item of a list, and `x-regex-key-value`, which finds members.

Such patterns may take for ever. They are given a time, and an answer for which it does not suffice stays text. What the
answer is can be told at its end alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import regex
from msgspec import UNSET, Struct, field

from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.chat.parsers.json_text import encode_arguments
from core.chat.parsers.open_call import tell_call
from core.chat.parsers.pieces import NotACall, SaidPiece, ThoughtPiece
from core.chat.parsers.unread import MarkSet, Reading, UnreadText

MOST_SECONDS: Final = 0.1
"""For all patterns on one answer."""
LEAST_SECONDS: Final = 0.001
MOST_LEVELS: Final = 32
THOUGHT_KEYS: Final = ("reasoning_content", "thinking", "reasoning")
UNFIT: Final = "The answer does not fit the response schema; it is told as the model wrote it."
TOO_LONG: Final = "The response schema's patterns take too long on this answer; it is told as the model wrote it."
_FLAGS: Final = regex.DOTALL | regex.VERSION0
_NOTHING: Final = MarkSet(())


class SchemaUnfit(Exception):
    """Answers cannot be read by a schema; the words say why."""


class ParserArguments(Struct, frozen=True):
    """How `x-parser` reads."""

    allow_non_json: bool = False
    transform: str | None = None


class SchemaNode(Struct, frozen=True):
    """A part of a response schema; what it says beside is for validators."""

    type: str | None = None
    const: Any = UNSET
    default: Any = UNSET
    pattern: str | None = field(default=None, name="x-regex")
    iterator: str | None = field(default=None, name="x-regex-iterator")
    key_value: str | None = field(default=None, name="x-regex-key-value")
    parser: str | None = field(default=None, name="x-parser")
    parser_arguments: ParserArguments = field(default=ParserArguments(), name="x-parser-args")
    properties: Mapping[str, SchemaNode] = field(default_factory=dict)
    rest: SchemaNode | bool = field(default=False, name="additionalProperties")
    items: SchemaNode | None = None

    def patterns(self) -> Iterator[str]:
        """Of it and all in it."""
        yield from (each for each in (self.pattern, self.iterator, self.key_value) if each is not None)
        for node in self.parts():
            yield from node.patterns()

    def parts(self) -> Iterator[SchemaNode]:
        yield from self.properties.values()
        yield from (node for node in (self.rest, self.items) if isinstance(node, SchemaNode))


class ResponseSchema:
    """A schema that answers are read by."""

    def __init__(self, text: str) -> None:
        """Raises SchemaUnfit for what is no such schema."""
        try:
            self._root = msgspec.json.decode(text, type=SchemaNode)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise SchemaUnfit(f"The response schema cannot be read: {error}.") from error
        self._patterns: dict[str, regex.Pattern[str]] = {}
        for pattern in self._root.patterns():
            try:
                self._patterns[pattern] = regex.compile(pattern, _FLAGS)
            except (regex.error, RecursionError) as error:
                raise SchemaUnfit(f"A pattern of the response schema cannot be read: {error}.") from error
        self._check(self._root, 0)

    def parse(self, text: str) -> dict[str, Any]:
        """The message that the text is. Raises SchemaUnfit for a text that is none, TimeoutError where that takes too
        long to find out."""
        parsed = _SchemaRun(self._patterns).parse(text, self._root)
        if not isinstance(parsed, dict):
            raise SchemaUnfit(UNFIT)
        return parsed

    def _check(self, node: SchemaNode, level: int) -> None:
        if level > MOST_LEVELS:
            raise SchemaUnfit("The response schema is nested too deep.")
        if node.parser not in (None, "json"):
            raise SchemaUnfit(f"The response schema wants the parser {node.parser!r}; `json` is the one there is.")
        if node.parser_arguments.transform is not None:
            raise SchemaUnfit("The response schema wants JSON to be transformed, which is not done here.")
        if node.key_value is not None and not {"key", "value"} <= set(self._patterns[node.key_value].groupindex):
            raise SchemaUnfit("`x-regex-key-value` of the response schema has no groups named `key` and `value`.")
        for part in node.parts():
            self._check(part, level + 1)


class _SchemaRun:
    """One text; see `recursive_parse` of Hugging Face for what each keyword does."""

    def __init__(self, patterns: Mapping[str, regex.Pattern[str]]) -> None:
        self._patterns = patterns
        self._deadline = time.monotonic() + MOST_SECONDS

    def parse(self, value: Any, node: SchemaNode) -> Any:
        if node.const is not UNSET:
            return node.const
        value = self._parsed(self._found(value, node), node)
        if value is None:
            return None
        match node.type, value:
            case ("object", str()):
                found = {name: self.parse(value, part) for name, part in node.properties.items()}
                return {name: part for name, part in found.items() if part is not None}
            case ("object", dict()):
                return self._members(value, node)
            case ("array", list()):
                return [self.parse(item, node.items) for item in value] if node.items is not None else value
            case (("object" | "array"), _):
                raise SchemaUnfit(UNFIT)
        return _as_type(value, node.type)

    def _found(self, value: Any, node: SchemaNode) -> Any:
        """What the node's patterns find in a text; None for nothing."""
        if node.pattern is not None and value is not None:
            value = self._match(self._patterns[node.pattern].search(_as_text(value), timeout=self._left()))
        if node.iterator is not None and value is not None:
            found = self._patterns[node.iterator].finditer(_as_text(value), timeout=self._left())
            value = [self._match(match) for match in found] or None
        if node.key_value is not None and value is not None:
            found = self._patterns[node.key_value].finditer(_as_text(value), timeout=self._left())
            value = {match["key"]: match["value"] for match in found} or None
        return value

    def _left(self) -> float:
        return max(LEAST_SECONDS, self._deadline - time.monotonic())

    def _match(self, match: regex.Match[str] | None) -> Any:
        """Its named groups, else its one group, else all of it."""
        if match is None:
            return None
        if named := {name: text for name, text in match.groupdict().items() if text is not None}:
            return named
        groups = match.groups()
        return groups[0] if groups else match[0]

    def _parsed(self, value: Any, node: SchemaNode) -> Any:
        if node.parser is None or not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            if node.parser_arguments.allow_non_json:
                return value
            raise SchemaUnfit(UNFIT) from error

    def _members(self, value: dict[str, Any], node: SchemaNode) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for name, part in node.properties.items():
            if part.const is not UNSET or name in value:
                members[name] = self.parse(value.get(name), part)
            elif part.default is not UNSET:
                members[name] = part.default
        for name in value.keys() - node.properties.keys():
            if isinstance(node.rest, SchemaNode):
                members[name] = self.parse(value[name], node.rest)
            elif node.rest or not node.properties:
                members[name] = value[name]
        return {name: members[name] for name in (*value, *members) if members.get(name) is not None}


def _as_text(value: Any) -> str:
    if not isinstance(value, str):
        raise SchemaUnfit(UNFIT)
    return value


def _as_type(value: Any, type_: str | None) -> Any:
    try:
        match type_, value:
            case "integer", str():
                return int(value)
            case "number", str():
                return float(value)
            case "boolean", str():
                return value.strip().lower() in ("true", "1")
    except ValueError as error:
        raise SchemaUnfit(UNFIT) from error
    return value


class SchemaFamily(ChatFamily, frozen=True, kw_only=True):
    """Reads answers by a schema in place of the family's own way, and calls as the family writes them under a mask."""

    schema: ResponseSchema

    @property
    def always(self) -> bool:
        return True

    @property
    def sees_all(self) -> bool:
        return True

    def parse(self, unread: UnreadText, phase: ThinkingPhase, *, calls: bool) -> Reading[None]:
        text, _ = yield from unread.text_until(_NOTHING)
        if phase is ThinkingPhase.INSIDE and self.thought is not None:
            # Schemas are written for answers that are whole.
            text = f"{self.thought.begin}{text}"
        try:
            message = list(_read_message(self.schema.parse(text)))
        except TimeoutError:
            unread.reject(TOO_LONG)
        except (SchemaUnfit, NotACall):
            unread.reject(UNFIT)
        else:
            unread.drop()
            for piece in message:
                if isinstance(piece, _WrittenCall):
                    tell_call(unread, piece.name, piece.arguments, written=f"{piece.name}({piece.arguments})")
                else:
                    unread.pieces.append(piece)


def apply_schema(family: ChatFamily | None, schema: ResponseSchema | None) -> ChatFamily | None:
    """The family, its answers read by the schema where there is one."""
    if schema is None:
        return family
    if family is None:
        return SchemaFamily("response schema", schema=schema)
    return SchemaFamily(family.name, family.thought, family.calls, schema=schema)


class _WrittenCall(Struct, frozen=True):
    name: str
    arguments: str


def _read_message(message: Mapping[str, Any]) -> Iterator[ThoughtPiece | SaidPiece | _WrittenCall]:
    """Raises SchemaUnfit, NotACall for what is no message."""
    thought = next((message[key] for key in THOUGHT_KEYS if isinstance(message.get(key), str)), "")
    if thought:
        yield ThoughtPiece(thought)
    content = message.get("content")
    if isinstance(content, str) and content:
        yield SaidPiece(content)
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function", call) if isinstance(call, dict) else {}
        name, arguments = function.get("name"), function.get("arguments", {})
        if not isinstance(name, str):
            raise SchemaUnfit(UNFIT)
        written = arguments if isinstance(arguments, str) else encode_arguments(arguments)
        yield _WrittenCall(name, written)
