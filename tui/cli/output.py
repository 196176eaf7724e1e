"""The one way of the command line to a terminal or a pipe for plain lines and documents: nothing in them is obeyed."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from core.errors import BenchtopError, UsageError
from core.foreign_text import make_json_printable, make_printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from core.bench.documents import ExportFormat


DECLINED_STATUS = 1


def be_tolerant() -> None:
    """What the encoding of stdout or stderr has no sign for is written as an escape, and ends no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write_text(text: str, *, end: str = "\n") -> None:
    """A line or several on stdout, at once."""
    sys.stdout.write(make_printable(text, lines=True) + end)
    sys.stdout.flush()


def ask_deletion(what: str, question: str) -> bool:
    """Whether the user says yes to a question on the terminal. Raises UsageError, which names `what` would be deleted,
    where there is none."""
    if not sys.stdin.isatty():
        raise UsageError(f"There is no terminal to ask whether {what} is to be deleted; say --yes.")
    sys.stdout.write(make_printable(f"{question} [y/N] "))
    sys.stdout.flush()
    agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not agreed:
        write_text("Nothing was deleted.")
    return agreed


def write_error(sentence: str) -> None:
    """A line on stderr, with the program's name before it."""
    sys.stderr.write(f"tui: {make_printable(sentence)}\n")


def pass_on(line: str) -> None:
    """A line of another process on stderr, as it wrote it."""
    sys.stderr.write(f"{make_printable(line)}\n")


def write_json(value: object) -> None:
    """Indented JSON on stdout, of whatever msgspec can take apart. A byte of a name that is not UTF-8 stands there as
    Python keeps it, half a surrogate."""
    import json

    import msgspec

    document = json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=2, ensure_ascii=False)
    sys.stdout.write(make_json_printable(document) + "\n")
    sys.stdout.flush()


def check_target(path: Path) -> None:
    """Before work is done for a file. Raises UsageError where it cannot be: folders are not made."""
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"No file can be written at {path}; name a file in a folder that is there.")


def write_documents(paths: Mapping[ExportFormat, Path | None], export: Callable[[ExportFormat], str]) -> None:
    """A file for each form that has a path. Raises BenchtopError where one cannot be written."""
    for form, path in paths.items():
        if path is None:
            continue
        try:
            path.write_text(export(form), encoding="utf-8")
        except OSError as error:
            raise BenchtopError(f"The file {path} cannot be written: {error.strerror}.") from error
