"""Convert settings to their types, with errors that name the key and the nearest key that exists."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

from core.errors import ConfigError

S = TypeVar("S", bound=Struct)

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<key>.*)`", re.DOTALL)
_ENUM = re.compile(r"Invalid enum value .*", re.DOTALL)
_BOUND = re.compile(r"Expected `(?:int|float)(?: \| null)?` (?P<sign>[<>]=?) (?P<bound>\S+)")
_NUMBER = re.compile(r"Expected `(?P<kind>int|float)(?: \| null)?`, got `str`")
_TRUTH = re.compile(r"Expected `bool(?: \| null)?`, got `str`")
_PATH = re.compile(r"(?P<what>.*?) - at `\$\.?(?P<path>.*)`", re.DOTALL)


def convert_values(values: object, kind: type[S], source: str, *, strict: bool = True, prefix: str = "") -> S:
    """`values` as a `kind`. `prefix` stands before the keys in errors, as `models.qwen`.

    Raises ConfigError: one sentence with the source, the key, and for an unknown key the nearest one there is.
    """
    try:
        return msgspec.convert(values, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise build_error(source, _sentence(str(error), values, kind, prefix, strict=strict)) from error


def build_error(source: str, sentence: str) -> ConfigError:
    """`sentence` begins with the key."""
    return ConfigError(f"A setting in {source} is wrong: {sentence}")


def list_structs(hint: object) -> Iterator[type[Struct]]:
    """The Structs that a type holds: itself, or members of its union."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
    for part in get_args(hint):
        yield from list_structs(part)


def suggest_key(key: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """`; did you mean port?`, or nothing."""
    near = difflib.get_close_matches(key, list(known), 1)
    return f"; did you mean {near[0]}?" if near else "."


def _sentence(message: str, values: object, kind: type[Struct], prefix: str, *, strict: bool) -> str:
    """msgspec says 'Expected `int` <= 65535 - at `$.server.port`'; the key's name goes first, and values and their
    range are told in plain words."""
    found = _PATH.fullmatch(message)
    what, path = (found["what"], found["path"]) if found else (message, "")
    parts = [part for part in path.split(".") if part]
    here = [*filter(None, [prefix]), *parts]
    if found := _UNKNOWN.fullmatch(what):
        known = _fields_at(kind, parts)
        listed = f"; there are {', '.join(known)}."
        near = suggest_key(found["key"], known)
        return f"{'.'.join([*here, found['key']])} is unknown{near if near != '.' else listed}"
    if found := _MISSING.fullmatch(what):
        return f"{'.'.join([*here, found['key']])} is missing."
    if _ENUM.fullmatch(what) and (choices := tuple(_choices(_hint_at(kind, parts)))):
        what = f"{_value_at(values, parts)!r} is none of {', '.join(map(str, choices))}"
    elif not strict and (kind_wanted := _NUMBER.fullmatch(what)) and isinstance(given := _value_at(values, parts), str):
        what = f"{given!r} is no {'whole ' if kind_wanted['kind'] == 'int' else ''}number"
    elif not strict and _TRUTH.fullmatch(what) and isinstance(given := _value_at(values, parts), str):
        what = f"{given!r} is neither true nor false"
    elif found := _BOUND.fullmatch(what):
        what = _outside(_value_at(values, parts), found["sign"], float(found["bound"]))
    return f"{'.'.join(here)}: {what}." if here else f"{what}."


def _fields_at(kind: type[Struct], parts: list[str]) -> tuple[str, ...]:
    return _struct_at(kind, parts).__struct_fields__


def _struct_at(kind: type[Struct], parts: list[str]) -> type[Struct]:
    for part in parts:
        hints: dict[str, Any] = get_type_hints(kind)
        kind = next(list_structs(hints.get(part.partition("[")[0])), kind)
    return kind


def _hint_at(kind: type[Struct], parts: list[str]) -> object:
    """The type of the setting at a path; None at the root."""
    *above, last = parts or [""]
    return get_type_hints(_struct_at(kind, above)).get(last.partition("[")[0])


def _choices(hint: object) -> Iterator[object]:
    """The values of an Enum that a type holds."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        yield from (member.value for member in hint)
    for part in get_args(hint):
        yield from _choices(part)


def _value_at(values: object, parts: list[str]) -> object:
    """The value at a path such as `loras[0].scale`."""
    for name in re.findall(r"[^.\[\]]+|\[\d+\]", ".".join(parts)):
        if isinstance(values, Mapping):
            values = values.get(name)
        elif isinstance(values, Sequence) and name.startswith("["):
            values = values[int(name[1:-1])]
    return values


def _outside(value: object, sign: str, bound: float) -> str:
    """`70000 is too large; at most 65535`. `sign` stands between what may be given and the bound."""
    words = {"<=": "at most", "<": "less than", ">=": "at least", ">": "more than"}
    wrong = "no number" if str(value).lower() == "nan" else "too large" if "<" in sign else "too small"
    return f"{value} is {wrong}; {words[sign]} {int(bound) if bound.is_integer() else bound}"
