"""Grammars of calls, in Lark as llguidance reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from core.chat.parsers.family import GrammarTerms
from core.requests import Tool


class WrittenJson(Struct, frozen=True):
    """How a family writes its calls when it is held to: what stands around each, or around a list of them."""

    begin: str
    end: str = ""
    between: str = "\n"
    listed: bool = False
    """Whether all calls are members of one list."""
    keys: tuple[str, str] = ("name", "arguments")
    frame: str = ""
    """Before all calls, where they are no list."""
    frame_end: str = ""


def write_json_calls(
    tools: Sequence[Tool], terms: GrammarTerms, written: WrittenJson, ends: Sequence[str], *, several: bool
) -> str:
    """Calls as JSON objects of a name and arguments; `ends` are what models end them with."""
    name, arguments = written.keys
    key = (write_text(","), terms.blanks(" "), write_text(f"{json.dumps(arguments)}:"), terms.blanks(" "))
    told = [" ".join((write_text(json.dumps(tool.name)), *key, terms.arguments(tool))) for tool in tools]
    begun = (write_text("{"), terms.blanks(), write_text(f"{json.dumps(name)}:"), terms.blanks(" "))
    members = " ".join((*begun, f"({join_choices(told)})", terms.blanks()))
    if written.listed:
        inner = f"{members} {write_text('}')}"
        more = ' (", " call)*' if several else ""
        begin, end = terms.mark(f"{written.begin}["), terms.closing("]", written.end, ends)
        return f"calls: {begin} call{more} {end}\ncall: {inner}\n"
    # What ends all calls of a frame is no end of one of them.
    closing = mark_term("}" + written.end, terms) if written.frame_end else terms.closing("}", written.end, ends)
    call = f"call: {mark_term(written.begin, terms)} {members} {closing}\n"
    begin, end = mark_term(written.frame, terms), mark_term(written.frame_end, terms)
    return f"calls: {begin} call{repeat_rule('call', written.between, terms, several=several)} {end}\n{call}"


def write_json_opening(written: WrittenJson) -> str:
    """What `write_json_calls` has a call begin with, up to the name of its tool, which stands for `NAME`."""
    listed = "[" if written.listed else ""
    return f'{written.frame}{written.begin}{listed}{{{json.dumps(written.keys[0])}: "NAME"'


def repeat_rule(rule: str, between: str, terms: GrammarTerms, *, several: bool) -> str:
    """What may follow the first of several."""
    if not several:
        return ""
    return f" ({terms.mark(between)} {rule})*" if between else f" {rule}*"


def mark_term(text: str, terms: GrammarTerms) -> str:
    """A text in which there may be control tokens; nothing for an empty one."""
    return terms.mark(text) if text else ""


def write_text(text: str) -> str:
    """A text without control tokens, as Lark writes it."""
    return json.dumps(text)


def join_choices(choices: Iterable[str]) -> str:
    return " | ".join(choices)


class ToolArgument:
    """One argument of a tool, as its schema tells it."""

    def __init__(self, name: str, schema: object, *, required: bool) -> None:
        self.name = name
        self.schema = schema
        self.required = required

    @property
    def is_text(self) -> bool:
        """Whether it may be any text, which families with tags write as it is."""
        return may_be_text(self.schema) and not self.choices

    @property
    def pattern(self) -> str:
        """What the whole text must match; empty where nothing says that."""
        pattern = self.schema.get("pattern") if isinstance(self.schema, Mapping) else None
        whole = isinstance(pattern, str) and pattern.startswith("^(?:") and pattern.endswith(")$")
        return str(pattern)[1:-1] if whole else ""

    @property
    def choices(self) -> list[str]:
        """The texts it is one of; none where it is no choice among texts."""
        allowed = self.schema.get("enum") if isinstance(self.schema, Mapping) else None
        if isinstance(allowed, list) and all(isinstance(each, str) and each for each in allowed):
            return allowed
        return []


def may_be_text(schema: object) -> bool:
    """Whether a schema allows texts, or does not say what it allows."""
    if not isinstance(schema, Mapping):
        return schema is not False
    type_ = schema.get("type")
    if isinstance(type_, str):
        return type_ == "string"
    if isinstance(type_, list):
        return "string" in type_
    for key in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(key), list):
            return any(map(may_be_text, options))
    return not any(key in schema for key in ("properties", "items", "enum", "const", "$ref", "allOf"))


def list_arguments(tool: Tool) -> list[ToolArgument]:
    """In the order in which the tool's schema names them."""
    return list_members(msgspec.json.decode(tool.held_to))


def list_members(schema: object) -> list[ToolArgument]:
    """Those that the schema of an object names, in its order."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(properties, dict):
        return []
    required = schema.get("required")
    needed = set(map(str, required)) if isinstance(required, list) else set()
    return [ToolArgument(name, each, required=name in needed) for name, each in properties.items()]


class CallTags(Struct, frozen=True):
    """What stands around a name or a value. A name ends where `name_end` comes, a value where `argument_end` does."""

    call: str
    """Before the tool's name."""
    call_end: str
    argument: str
    """Before an argument's name."""
    argument_end: str
    name_end: str = ">"
    frame: str = ""
    """Before a call, or before all of them."""
    frame_end: str = ""
    gap: str = "\n"
    """Between tags, as models write it."""
    lines: bool = False
    """Whether values stand on lines of their own, whose ends are no part of them."""
    typed: tuple[tuple[str, bool], ...] = ()
    """What may stand behind an argument's name, and whether the value is a text then or else JSON."""
    quoted: bool = False
    """Whether values may be quoted as XML quotes texts."""


def write_tagged_calls(
    tools: Sequence[Tool], terms: GrammarTerms, tags: CallTags, *, within_frame: bool, several: bool
) -> str:
    """Calls whose arguments stand between tags, texts as they are and all else as JSON, in the schema's order."""
    rules: list[str] = []
    for number, tool in enumerate(tools):
        # A gap alone would be read before it is clear whether a call or the frame's end stands behind it.
        gap = tags.gap if within_frame else ""
        parts = [terms.mark(f"{gap}{tags.call}{tool.name}{tags.name_end}{tags.gap}")]
        for index, each in enumerate(list_arguments(tool)):
            rule = f"argument_{number}_{index}"
            parts.append(rule if each.required else f"{rule}?")
            rules.append(f"{rule}: {_write_argument(tool, each, tags, terms)}")
        rules.append(f"call_{number}: {' '.join(parts)} {terms.mark(tags.call_end)}")
    choices = join_choices(f"call_{number}" for number in range(len(tools)))
    begin = mark_term(tags.frame and f"{tags.frame}{'' if within_frame else tags.gap}", terms)
    end = mark_term(tags.frame_end and f"{tags.gap}{tags.frame_end}", terms)
    more = repeat_rule("call", "" if within_frame else tags.gap, terms, several=several)
    if within_frame:
        head = f"calls: {begin} call{more} {end}\ncall: {choices}"
    else:
        head = f"calls: call{more}\ncall: {begin} ({choices}) {end}"
    return "\n".join((head, *rules, ""))


def _write_argument(tool: Tool, argument: ToolArgument, tags: CallTags, terms: GrammarTerms) -> str:
    line = "\n" if tags.lines else ""
    text = argument.is_text or bool(argument.choices)
    kind = next((written for written, is_text in tags.typed if is_text is text), tags.name_end)
    begin = terms.mark(f"{tags.argument}{argument.name}{kind}{line}")
    end = f"{line}{tags.argument_end}{tags.gap}"
    if argument.is_text:
        return f"{begin} {terms.until(end, argument.pattern)}"
    choices = join_choices(map(write_text, argument.choices))
    return f"{begin} {f'({choices})' if choices else terms.value(tool, argument.schema)} {terms.mark(end)}"


def write_chain(name: str, pairs: Sequence[tuple[str, bool]], comma: str) -> tuple[list[str], str]:
    """Rules of members in their order, parted by commas, of which those that are not required may be left out; and
    the first rule's name. `pairs` are what a member is written as, and whether it is required."""
    rules: list[str] = []
    last = len(pairs)
    for index, (written, required) in enumerate(pairs):
        member = f"{name}_{index}"
        rules.append(f"{member}: {written}")
        first, rest = f"{member} {name}_rest_{index + 1}", f"{write_text(comma)} {member} {name}_rest_{index + 1}"
        left_out = "" if required else f" | {name}_first_{index + 1}"
        rules.append(f"{name}_first_{index}: {first}{left_out}")
        left_out = "" if required else f" | {name}_rest_{index + 1}"
        rules.append(f"{name}_rest_{index}: {rest}{left_out}")
    rules += (f'{name}_first_{last}: ""', f'{name}_rest_{last}: ""')
    return rules, f"{name}_first_0"
