"""Changes to the config file that the workbench makes for its user: all else in it stays as it was written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from pathlib import Path
from typing import Final

import tomlkit
import tomlkit.exceptions
from filelock import FileLock, Timeout
from msgspec import to_builtins
from tomlkit.items import InlineTable

from core.errors import ConfigError
from core.files import write_atomically
from core.settings.file import drop_blank_values, is_there, read_config, read_text
from core.settings.load import check_settings
from core.settings.merge import Key
from core.settings.schema import Settings

PRIVATE_MODE: Final = 0o600
"""Of a config file that has no mode yet: it may hold keys."""
LOCK_SECONDS: Final = 5.0
"""How long another change is waited for, of this program or of another one: none of two may lose what it wrote."""


def change_config(path: Path, changes: Mapping[Key, object]) -> None:
    """Set values of a TOML config file, by their keys; None takes one out. The file and its folder are made where
    they are missing. Its comments and its order stay.

    Raises ConfigError where the file cannot be read or written, or would be wrong afterwards; then it is as it was.
    """

    def change(document: tomlkit.TOMLDocument) -> None:
        for key, value in changes.items():
            _change(document, key, to_builtins(value))

    _rewrite(path, change)


def append_value(path: Path, key: Key, text: str) -> bool:
    """Add a text to a list of a TOML config file, behind those that stand there, with their comments; whether it was
    not there before. Otherwise as `change_config`."""
    added = False

    def append(document: tomlkit.TOMLDocument) -> None:
        nonlocal added
        if _find(document, key) is None:
            _change(document, key, [])
        listed = _find(document, key)
        assert isinstance(listed, MutableSequence), "the file was checked"
        if added := text not in listed:
            listed.append(text)

    _rewrite(path, append)
    return added


def _find(document: tomlkit.TOMLDocument, key: Key) -> object:
    found: object = document
    for name in key:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _rewrite(path: Path, change: Callable[[tomlkit.TOMLDocument], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS):
            _rewrite_locked(path, change)
    except Timeout as error:
        raise ConfigError(f"The config file {path} is being changed by another program; try again.") from error
    except OSError as error:
        raise ConfigError(f"The config file {path} cannot be written: {error.strerror or error}.") from error


def _rewrite_locked(path: Path, change: Callable[[tomlkit.TOMLDocument], None]) -> None:
    """Raises OSError where it cannot be written, ConfigError otherwise."""
    present = is_there(path)
    if present:
        # What is wrong with it already is told as ever, before anything is changed.
        check_settings(read_config(path, Settings), f"the config file {path}")
    try:
        document = tomlkit.parse(read_text(path, "TOML") if present else "")
        change(document)
        text = tomlkit.dumps(document)
        changed = drop_blank_values(tomlkit.parse(text).unwrap(), Settings)
        check_settings(changed, f"the changed config file {path}")
    except tomlkit.exceptions.TOMLKitError as error:
        raise ConfigError(f"The config file {path} cannot be changed: {error}.") from error
    target = path.resolve()
    mode = target.stat().st_mode & 0o777 if present else PRIVATE_MODE
    write_atomically(target, text.encode())
    os.chmod(target, mode)  # noqa: PTH101 - Path.chmod is the same


def _change(document: tomlkit.TOMLDocument, key: Key, value: object) -> None:
    table: MutableMapping[str, object] = document
    for name in key[:-1]:
        if name not in table:
            if value is None:
                return
            above = len(key) > 2 and name == key[0]
            inside = isinstance(table, InlineTable)
            table[name] = tomlkit.inline_table() if inside else tomlkit.table(is_super_table=above)
        inner = table[name]
        assert isinstance(inner, MutableMapping), "the file was checked"
        table = inner
    if value is None:
        table.pop(key[-1], None)
    else:
        table[key[-1]] = value
