"""A call's arguments beside the schema of its tool: what loses nothing is set right, what breaks it is told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

MOST_LEVELS: Final = 100
"""Of lists and objects in one another that are looked into."""
TRUTHS: Final = {"true": True, "false": False}
SCALAR: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
SPELLED_OTHERWISE: Final = {"True": "true", "False": "false", "None": "null"}
"""Words that models take over from Python."""


def fit_arguments(arguments: str, schema: object, *, typed: bool) -> str:
    """The JSON of a call's arguments, or of a part of them, as a decoded JSON Schema wants it.

    A float that is whole becomes the integer that is asked for; where the model wrote no types, a text becomes what it
    spells. The text stays as it is where nothing is changed.
    """
    try:
        fitted, changed = _fit(msgspec.json.decode(arguments), schema, typed, 0)
        return msgspec.json.encode(fitted).decode() if changed else arguments
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return arguments


def fit_value(value: Any, schema: object, *, typed: bool) -> Any:
    """The same of a value under its own schema."""
    return _fit(value, schema, typed, 0)[0]


def fit_scalar(text: str, schema: object) -> str:
    """The JSON of a number or a word as its schema wants it. Raises ValueError for what is none."""
    text = SPELLED_OTHERWISE.get(text, text)
    if SCALAR.fullmatch(text) is None:
        raise ValueError("neither a number nor a word")
    # Of numbers and words, floats alone may become something else.
    return text if text.isalnum() else fit_arguments(text, schema, typed=True)


def find_member(schema: object, name: str) -> object:
    """What an object's schema says of a member."""
    if not isinstance(schema, Mapping):
        return None
    known = schema.get("properties")
    rest = schema.get("additionalProperties")
    return known.get(name, rest) if isinstance(known, Mapping) else rest


def find_items(schema: object) -> object:
    """What a list's schema says of its items."""
    return schema.get("items") if isinstance(schema, Mapping) else None


def is_text_alone(schema: object) -> bool:
    """Whether nothing but a text is of the schema."""
    return isinstance(schema, Mapping) and set(_types(schema)) == {"string"}


def find_problem(arguments: str, schema: object) -> str:
    """What breaks the schema in the JSON of a call's arguments, in words; empty where nothing does.

    Types, members that must be there or must not, and values to choose from are checked.
    """
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    return next(_find_problems(value, schema, "", 0), "")


def _fit(value: Any, schema: Any, typed: bool, level: int) -> tuple[Any, bool]:
    """The value as the schema wants it, and whether that is another one."""
    if not isinstance(schema, Mapping) or level > MOST_LEVELS:
        return value, False
    types = _types(schema)
    if isinstance(value, str) and not typed:
        read = _read_untyped(value, types)
        return read, read is not value
    if isinstance(value, dict):
        parts = {name: _fit(item, find_member(schema, name), typed, level + 1) for name, item in value.items()}
        return {name: item for name, (item, _) in parts.items()}, any(changed for _, changed in parts.values())
    if isinstance(value, list):
        items = [_fit(item, schema.get("items"), typed, level + 1) for item in value]
        return [item for item, _ in items], any(changed for _, changed in items)
    if types and not any(_is_of(value, type_) for type_ in types):
        for type_ in types:
            if type_ == "integer" and isinstance(value, float) and value.is_integer():
                return int(value), True
    return value, False


def _read_untyped(text: str, types: list[str]) -> Any:
    """What a text spells that the model wrote without a type; the text itself where it is none of the types."""
    bare = text.strip()
    # Where nothing says what it is, what is written as an object or a list is one.
    for type_ in types or ("object", "array"):
        if type_ == "null" and bare == "null":
            return None
        value = _spelled(bare, type_) if type_ not in ("string", "null") else None
        if value is not None:
            return value
    return text


def _spelled(text: str, type_: str) -> Any:
    if type_ == "boolean":
        return TRUTHS.get(text.lower())
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if type_ == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if _is_of(value, type_) else None


def _find_problems(value: Any, schema: Any, path: str, level: int) -> Iterator[str]:
    """What breaks the schema, in words."""
    if not isinstance(schema, Mapping) or level > MOST_LEVELS:
        return
    place = f"`{path}`" if path else "the whole"
    types = _types(schema)
    if types and not any(_is_of(value, type_) for type_ in types):
        yield f"{place} is not of type {' or '.join(types)}"
        return
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        yield f"{place} is none of the values to choose from"
    if isinstance(value, dict):
        yield from _find_in_object(value, schema, path, level)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _find_problems(item, schema.get("items"), f"{path}[{index}]", level + 1)


def _find_in_object(value: dict[str, Any], schema: Mapping[str, Any], path: str, level: int) -> Iterator[str]:
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        if name not in value:
            yield f"`{_join(path, name)}` is missing"
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    rest = schema.get("additionalProperties")
    for name, item in value.items():
        if name not in known and rest is False:
            yield f"`{_join(path, name)}` is not known to it"
        else:
            yield from _find_problems(item, known.get(name, rest), _join(path, name), level + 1)


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _types(schema: Mapping[str, Any]) -> list[str]:
    match schema.get("type"):
        case str(type_):
            return [type_]
        case list(types):
            return [type_ for type_ in types if isinstance(type_, str)]
    for key in ("anyOf", "oneOf"):
        options = schema.get(key)
        if isinstance(options, list) and all(isinstance(option, Mapping) for option in options):
            found = [_types(option) for option in options]
            return [type_ for types in found for type_ in types] if all(found) else []
    allowed = schema.get("enum")
    return ["string"] if isinstance(allowed, list) and all(isinstance(value, str) for value in allowed) else []


def _is_of(value: Any, type_: str) -> bool:
    match type_:
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case "null":
            return value is None
    return True
