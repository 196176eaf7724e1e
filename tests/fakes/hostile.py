"""Forms that are made to cost much: answered or refused, they must hold up nobody else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from core.requests import AnswerForm, GbnfGrammar, JsonSchema, LarkGrammar, RegexPattern, TextChoice

MEGABYTE: Final = 1_000_000


def make_hostile_forms() -> Mapping[str, AnswerForm]:
    """By what is hostile in them."""
    return {
        "recursive $ref": _schema(_tree()),
        "mutual $ref": _schema(_mutual()),
        "10,000 enum values": _schema({"enum": [f"value {number * 7919 % 100_003}" for number in range(10_000)]}),
        "10,000 choices": TextChoice(tuple(f"choice number {number}" for number in range(10_000))),
        "minItems 1,000,000": _schema({"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000}),
        "minLength 1,000,000": _schema({"type": "string", "minLength": 1_000_000}),
        "1,000 properties": _schema(_wide(1_000)),
        "1,000 levels": JsonSchema('{"items": ' * 1_000 + "{}" + "}" * 1_000),
        "anyOf of 1,000 objects": _schema({"anyOf": [_wide(3, str(number)) for number in range(1_000)]}),
        "nested repeats": RegexPattern("((((a{1,30}){1,30}){1,30}){1,30}){1,30}"),
        "(a|a)* and an end": RegexPattern("(a|a|aa)*b"),
        "(.*a){20}": RegexPattern("(.*a){20}"),
        ".*a.{200}": RegexPattern("(?s:.*)a(?s:.{200})b"),
        "unicode classes": RegexPattern(r"(\p{L}+\p{N}*\p{P}?){1,60}"),
        "any of 300 words, in any order": RegexPattern(f"(({'|'.join(f'word{n}' for n in range(300))}) ?){{1,100}}"),
        "ambiguous grammar": LarkGrammar('start: s\ns: s s s | s s | "a" | "b" | ""\n'),
        "left and right recursion": LarkGrammar('start: e\ne: e "+" e | e "*" e | e e | /[a-z]+/ | "(" e ")"\n'),
        "1 MB Lark": LarkGrammar(_long_lark()),
        "1 MB GBNF": GbnfGrammar(write_long_gbnf()),
        "1 MB of one string": RegexPattern("a" * MEGABYTE),
    }


def _schema(schema: dict[str, Any]) -> JsonSchema:
    return JsonSchema(json.dumps(schema))


def _tree() -> dict[str, Any]:
    node = {
        "type": "object",
        "properties": {"value": {"type": "string"}, "left": {"$ref": "#/$defs/n"}, "right": {"$ref": "#/$defs/n"}},
        "required": ["value", "left", "right"],
    }
    return {"$defs": {"n": {"anyOf": [{"type": "null"}, node]}}, "$ref": "#/$defs/n"}


def _mutual() -> dict[str, Any]:
    names = [f"d{number}" for number in range(200)]
    definitions = {
        name: {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": f"#/$defs/{names[index * 7 % 200]}"}}]}
        for index, name in enumerate(names)
    }
    return {"$defs": definitions, "type": "array", "items": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}}


def _wide(count: int, prefix: str = "") -> dict[str, Any]:
    properties = {f"p{prefix}_{number}": {"type": "string"} for number in range(count)}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _long_lark() -> str:
    rules: list[str] = []
    size = number = 0
    while size < MEGABYTE:
        rules.append(f'r{number}: "word {number}" r{number + 1} | "other {number}"\n')
        size += len(rules[-1])
        number += 1
    return f'start: r0\n{"".join(rules)}r{number}: "end"\n'


def write_long_gbnf(characters: int = MEGABYTE) -> str:
    """A grammar that is somewhat longer than that."""
    rules: list[str] = []
    size = number = 0
    while size < characters:
        rules.append(f'r{number} ::= "word {number}" r{number + 1} | "other {number}"\n')
        size += len(rules[-1])
        number += 1
    return f'root ::= r0\n{"".join(rules)}r{number} ::= "end"\n'
