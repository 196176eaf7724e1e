"""Converting what a source of settings says to its types, with errors that name the key and the nearest one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

from core.errors import ConfigError

S = TypeVar("S", bound=Struct)

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<key>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<key>.*)`", re.DOTALL)
_PLACE = re.compile(r"(?P<what>.*?) - at `\$\.?(?P<path>.*)`", re.DOTALL)


def convert(values: object, kind: type[S], source: str, *, strict: bool = True, prefix: str = "") -> S:
    """`values` as a `kind`. `prefix` stands before the keys in errors, as `models.qwen`.

    Raises ConfigError: one sentence with the source, the key, and for an unknown key the nearest one there is.
    """
    try:
        return msgspec.convert(values, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise wrong(source, _sentence(str(error), kind, prefix)) from error


def wrong(source: str, sentence: str) -> ConfigError:
    """`sentence` begins with the key."""
    return ConfigError(f"A setting in {source} is wrong: {sentence}")


def structs(hint: object) -> Iterator[type[Struct]]:
    """The Structs that a type holds: itself, or members of its union."""
    if isinstance(hint, type) and issubclass(hint, Struct):
        yield hint
    for part in get_args(hint):
        yield from structs(part)


def nearest(key: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """`; did you mean port?`, or nothing."""
    near = difflib.get_close_matches(key, list(known), 1)
    return f"; did you mean {near[0]}?" if near else "."


def _sentence(message: str, kind: type[Struct], prefix: str) -> str:
    """msgspec says 'Expected `int` - at `$.server.port`'; the key's name goes first."""
    place = _PLACE.fullmatch(message)
    what, path = (place["what"], place["path"]) if place else (message, "")
    parts = [part for part in path.split(".") if part]
    here = [*filter(None, [prefix]), *parts]
    if found := _UNKNOWN.fullmatch(what):
        known = _fields_at(kind, parts)
        listed = f"; there are {', '.join(known)}."
        near = nearest(found["key"], known)
        return f"{'.'.join([*here, found['key']])} is unknown{near if near != '.' else listed}"
    if found := _MISSING.fullmatch(what):
        return f"{'.'.join([*here, found['key']])} is missing."
    return f"{'.'.join(here)}: {what}." if here else f"{what}."


def _fields_at(kind: type[Struct], parts: list[str]) -> tuple[str, ...]:
    for part in parts:
        hints: dict[str, Any] = get_type_hints(kind)
        kind = next(structs(hints.get(part.partition("[")[0])), kind)
    return kind.__struct_fields__
