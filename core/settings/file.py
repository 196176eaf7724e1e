"""Read a config file: its text, its sections, and the values that count as given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

import msgspec
from msgspec import Struct

from core.errors import ConfigError
from core.files import read_regular
from core.settings.merge import Tree
from core.text_files import decode_text
from core.wrong_values import list_structs

TEMPLATE = "chat_template"
"""A key whose value may be a path, and may be a text in which blanks count."""
SCHEMA = "response_schema"
"""A key whose value may be a path, and may be JSON."""
MOST_FILE_BYTES = 4 * 1024 * 1024
"""Bytes of a config file; a larger file is no config file."""


def read_config(path: Path, settings: type[Struct]) -> Tree:
    """What a TOML file says, not yet checked against `settings`; empty strings count as not given. Raises
    ConfigError."""
    if path.suffix.lower() == ".json":
        read_text(path, "TOML")
        raise ConfigError(f"The config file {path} is JSON; `tui config import {path}` writes it as TOML, once.")
    return drop_blank_values(read_toml(path), settings)


def is_there(path: Path) -> bool:
    """Whether there is a config file. Raises ConfigError where that cannot be told, as in a folder of somebody else."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(f"The config file {path} cannot be read: {error.strerror or error}.") from error
    return True


def read_text(path: Path, form: str, what: str = "config file") -> str:
    """The text of a file, which should be TOML or JSON, as `form` says; `what` names its kind. Raises ConfigError."""
    try:
        return decode_text(read_regular(path, MOST_FILE_BYTES))
    except OSError as error:
        raise ConfigError(f"The {what} {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ConfigError(f"The {what} {path} is not {form}: it {error}.") from error


def read_toml(path: Path, what: str = "config file") -> Tree:
    """What a TOML file says; `what` names its kind. Raises ConfigError."""
    text = read_text(path, "TOML", what)
    try:
        content: dict[str, object] = msgspec.toml.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"The {what} {path} is not TOML: {error or 'it is nested too deep'}.") from error
    return content


def drop_blank_values(table: Tree, kind: type[Struct] | None) -> dict[str, object]:
    """A table of a file without empty settings and without blanks around texts. Keys that are no settings stay."""
    hints: Mapping[str, object] = get_type_hints(kind) if kind is not None else {}
    given: dict[str, object] = {}
    for key, value in table.items():
        inner = next(list_structs(hints.get(key)), None)
        if isinstance(value, Mapping) and key == "models" and inner is not None:
            given[key] = {
                name: drop_blank_values(each, inner) if isinstance(each, Mapping) else each
                for name, each in value.items()
            }
        elif isinstance(value, Mapping):
            given[key] = drop_blank_values(value, inner)
        elif key == TEMPLATE and value and not _is_blank(value):
            given[key] = value
        elif isinstance(value, list):
            given[key] = [each.strip() if isinstance(each, str) else each for each in value if not _is_blank(each)]
        elif not (_is_blank(value) and key in hints):
            given[key] = value.strip() if isinstance(value, str) else value
    return given


def _is_blank(value: object) -> bool:
    return isinstance(value, str) and not value.strip()
