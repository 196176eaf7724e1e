"""State that may be lost: verdicts, records, histories, what was seen of files.

Nothing depends on it. What cannot be read, for whatever reason, counts as not kept; what cannot be written is told
once for a folder, and done without. A full disk, a read-only home or a damaged file must never stop a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from core.files import append_line, read_regular, write_atomically
from core.telemetry.log import get_logger

MOST_FILE_BYTES: Final = 64 * 1024 * 1024
"""Bytes that a file of ours may have. A larger file is not ours, and is not read."""
T = TypeVar("T")
log = get_logger(__name__)


def read_kept(path: Path) -> bytes | None:
    """The content of a file; None where the file is missing or cannot be read. Never waits for a pipe."""
    try:
        return read_regular(path, MOST_FILE_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _tell_unread(str(path), _why(error))
        return None


def decode_kept(data: bytes, kind: type[T], form: Literal["json", "msgpack"] = "json") -> T | None:
    """What was kept, as a `kind`; None for what is damaged or was written by another version."""
    decode: Callable[..., T] = msgspec.json.decode if form == "json" else msgspec.msgpack.decode
    try:
        return decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
        # ValueError is also what bytes that are not UTF-8 raise.
        return None


def load_kept(path: Path, kind: type[T], form: Literal["json", "msgpack"] = "json") -> T | None:
    """The value that a file holds; None where the file is missing or its value cannot be used."""
    data = read_kept(path)
    return None if data is None else decode_kept(data, kind, form)


def load_kept_lines(path: Path, kind: type[T]) -> list[T]:
    """The values of a file with a line of JSON for each, but for lines that are damaged or of another version, which
    is told once."""
    lines = (read_kept(path) or b"").splitlines()
    values = [value for line in lines if (value := decode_kept(line, kind)) is not None]
    if len(values) < len(lines):
        _tell_passed_over(str(path), len(lines) - len(values))
    return values


def keep_file(path: Path, data: bytes) -> bool:
    """Write a file whole or not at all; whether it was. Makes the folder."""
    return _kept(path, lambda: write_atomically(path, data))


def keep_value(path: Path, value: object, form: Literal["json", "msgpack"] = "json") -> bool:
    """As `keep_file`, of a value; False too for one that cannot be written, such as a name that is not UTF-8."""
    try:
        data = msgspec.json.encode(value) if form == "json" else msgspec.msgpack.encode(value)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        _tell_unkept(str(path.parent), _why(error))
        return False
    return keep_file(path, data)


def keep_lines(path: Path, values: Iterable[object]) -> bool:
    """As `keep_file`, a line of JSON for each value."""
    try:
        data = b"".join(msgspec.json.encode(value) + b"\n" for value in values)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        _tell_unkept(str(path.parent), _why(error))
        return False
    return keep_file(path, data)


def keep_line(path: Path, value: object) -> bool:
    """Add a line of JSON to a file; whether it was."""
    try:
        data = msgspec.json.encode(value)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        _tell_unkept(str(path.parent), _why(error))
        return False
    return _kept(path, lambda: append_line(path, data))


def _kept(path: Path, write: Callable[[], None]) -> bool:
    try:
        write()
    except (OSError, ValueError) as error:
        _tell_unkept(str(path.parent), _why(error))
        return False
    return True


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


# Once for a folder and a reason: a full disk would otherwise be told with every request.


@lru_cache(maxsize=256)
def _tell_unkept(folder: str, why: str) -> None:
    log.warning("what was found out cannot be kept, and is done without", folder=folder, why=why)


@lru_cache(maxsize=256)
def _tell_unread(path: str, why: str) -> None:
    log.warning("what was kept cannot be read, and counts as not kept", path=path, why=why)


@lru_cache(maxsize=256)
def _tell_passed_over(path: str, lines: int) -> None:
    log.info("lines of another version, or damaged ones, are passed over", path=path, lines=lines)
