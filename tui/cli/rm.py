"""`tui rm NAME`: delete a model from the Hub's cache or from one of the user's folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from core.errors import UsageError
from core.foreign_text import make_printable
from core.models.library.delete import check, find
from core.models.library.scan import LibraryEntry
from core.settings.load import load_settings
from core.workbench import Workbench
from tui.cli.arguments import CommandParser, file_path
from tui.cli.list_models import size_in_words
from tui.cli.output import write

DECLINED = 1


def parser() -> argparse.ArgumentParser:
    made = CommandParser(
        prog="tui rm",
        description="Delete a model from the Hub's cache, or from a folder of library.folders.",
        allow_abbrev=False,
    )
    made.add_argument("model", metavar="NAME", help="as `tui list` shows it, an alias, or a path")
    made.add_argument("-y", "--yes", action="store_true", help="do not ask")
    made.add_argument("-C", "--config", type=file_path, metavar="FILE", help="a config file in place of the usual one")
    return made


def main(words: Sequence[str]) -> int:
    """Find, ask, delete; 1 when the answer is no. Raises BenchtopError."""
    given = parser().parse_args(words)
    store = Workbench(load_settings(config_file=given.config)).store
    shelf = store.shelf
    entry = find(given.model, shelf.scan(), shelf.cache)
    check(shelf, entry)
    if not given.yes and not _agreed(entry):
        write("Nothing was deleted.")
        return DECLINED
    freed = store.delete(entry)
    write(f"Deleted {entry.name}; {size_in_words(freed) or 'nothing'} became free.")
    return 0


def _agreed(entry: LibraryEntry) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"There is no terminal to ask whether {entry.name} is to be deleted; say --yes.")
    size = size_in_words(entry.size) or "empty"
    write(make_printable(f"Delete {entry.name} ({size}) at {entry.path}? [y/N] "), end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
