"""What msgspec says of a value that is not of its type, in words that the author of the value can act on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from msgspec import Struct

_TYPE: Final = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`")
_BOUND: Final = re.compile(r"Expected `(?:int|float)(?: \| [^`]+)?` (?P<sign>[<>]=?) (?P<bound>\S+)")
_LENGTH: Final = re.compile(
    r"Expected `(?P<kind>str|array|object)(?: \| [^`]+)?` of length (?P<sign>[<>]=) (?P<count>\d+)"
)
_CHOICE: Final = re.compile(r"Invalid (?:enum )?value .*", re.DOTALL)
_PATTERN: Final = re.compile(r"Expected `str(?: \| [^`]+)?` matching regex '(?P<pattern>.*)'", re.DOTALL)
_KINDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_PARTS: Final = {"str": "character", "array": "item", "object": "member"}
_SIGNS: Final = {"<=": "at most", "<": "less than", ">=": "at least", ">": "more than"}


def explain_value(said: str, shown: str, choices: Sequence[object] = ()) -> str:
    """The end of a sentence about a value, which is `shown` in it, from what msgspec has `said`.

    `choices` are the values that there are, where only some are valid. What is not known here is passed on.
    """
    if found := _BOUND.fullmatch(said):
        bound = float(found["bound"])
        wrong = "no number" if shown.lower() == "nan" else "too large" if "<" in found["sign"] else "too small"
        return f"{shown} is {wrong}; {_SIGNS[found['sign']]} {int(bound) if bound.is_integer() else bound}"
    if found := _LENGTH.fullmatch(said):
        wrong = "too long" if "<" in found["sign"] else "too short"
        part = _PARTS[found["kind"]] + ("" if found["count"] == "1" else "s")
        return f"{shown} is {wrong}; {_SIGNS[found['sign']]} {int(found['count']):,} {part}"
    if choices and _CHOICE.fullmatch(said):
        return f"{shown} is none of {', '.join(map(str, choices))}"
    if found := _PATTERN.fullmatch(said):
        pattern = found["pattern"].replace("\\\\", "\\")
        return f"{shown} has characters that may not stand there, or none; the pattern is {pattern}"
    if found := _TYPE.fullmatch(said):
        return f"expected {_name_kinds(found['wanted'])}, got {_name_kinds(found['got'])}"
    return said[:1].lower() + said[1:]


def find_struct(kind: type[Struct], parts: list[str]) -> type[Struct]:
    """The Struct at a path of names, below one; the last that there is where the path leads on."""
    for part in parts:
        hints: dict[str, Any] = get_type_hints(kind)
        kind = next(list_structs(hints.get(part.partition("[")[0])), kind)
    return kind


def find_type(kind: type[Struct], parts: list[str]) -> object:
    """The type of the value at a path of names, below a Struct; None at the root."""
    *above, last = parts or [""]
    return get_type_hints(find_struct(kind, above)).get(last.partition("[")[0])


def list_structs(hint: object) -> Iterator[type[Struct]]:
    """The Structs that a type holds: itself, or members of its union."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
    for part in get_args(hint):
        yield from list_structs(part)


def list_choices(hint: object) -> Iterator[object]:
    """The values there are where a type allows only some: those of its enums and literals."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        yield from (member.value for member in hint)
    elif get_origin(hint) is Literal:
        yield from get_args(hint)
    else:
        for part in get_args(hint):
            yield from list_choices(part)


def _name_kinds(names: str) -> str:
    """`int | null` as "a whole number": a value that may be left out need not be told so."""
    kinds = names.split(" | ")
    told = [kind for kind in kinds if kind != "null" and not (kind == "int" and "float" in kinds)] or kinds
    return " or ".join(_KINDS.get(kind, kind) for kind in told)
