"""Settings in the words of TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from core.foreign_text import make_json_printable

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def write_tables(tree: Mapping[str, object], path: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a document: a table for each mapping that holds values, with those of its tables below it."""
    values = {key: value for key, value in tree.items() if not isinstance(value, Mapping)}
    if path and (values or not tree):
        yield f"[{write_path(path)}]"
        yield from (f"{write_path([key])} = {write_value(value)}" for key, value in values.items())
        yield ""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from write_tables(value, (*path, key))


def write_path(path: Sequence[str]) -> str:
    """The key of a table, `models.qwen`, with quotes where TOML wants them."""
    return ".".join(part if _BARE.fullmatch(part) else write_value(part) for part in path)


def write_value(value: object) -> str:
    """A value as TOML writes it. JSON's strings are TOML's basic strings, save that these escape DEL too."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case tuple() | list():
            return f"[{', '.join(write_value(each) for each in value)}]"
        case Struct():
            return write_value({key: getattr(value, key) for key in value.__struct_fields__})
        case Mapping():
            return f"{{ {', '.join(f'{write_path([key])} = {write_value(each)}' for key, each in value.items())} }}"
        case _:
            return make_json_printable(json.dumps(str(value), ensure_ascii=False), pairs=False)
