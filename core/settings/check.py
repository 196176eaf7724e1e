"""Convert settings to their types, with errors that name the key and the nearest key that exists."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from core.errors import ConfigError
from core.wrong_values import explain_value, find_struct, find_type, list_choices

S = TypeVar("S", bound=Struct)

MOST_SHOWN_CHARACTERS: Final = 80
"""Characters of a wrong value that are shown."""
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<key>.*)`", re.DOTALL)
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
    if not strict and (kind_wanted := _NUMBER.fullmatch(what)) and isinstance(given := _value_at(values, parts), str):
        what = f"{given!r} is no {'whole ' if kind_wanted['kind'] == 'int' else ''}number"
    elif not strict and _TRUTH.fullmatch(what) and isinstance(given := _value_at(values, parts), str):
        what = f"{given!r} is neither true nor false"
    else:
        given = _value_at(values, parts)
        choices = tuple(list_choices(find_type(kind, parts)))
        what = explain_value(what, repr(given) if choices else str(given)[:MOST_SHOWN_CHARACTERS], choices)
    return f"{'.'.join(here)}: {what}." if here else f"{what}."


def _fields_at(kind: type[Struct], parts: list[str]) -> tuple[str, ...]:
    return find_struct(kind, parts).__struct_fields__


def _value_at(values: object, parts: list[str]) -> object:
    """The value at a path such as `loras[0].scale`."""
    for name in re.findall(r"[^.\[\]]+|\[\d+\]", ".".join(parts)):
        if isinstance(values, Mapping):
            values = values.get(name)
        elif isinstance(values, Sequence) and name.startswith("["):
            values = values[int(name[1:-1])]
    return values
