"""`tui rm NAME`: delete a model from the Hub's cache or from one of the user's folders."""

from __future__ import annotations

import sys

from core.errors import UsageError
from core.foreign_text import make_printable
from core.models.library.delete import check_deletable, find_entry
from core.models.library.scan import LibraryEntry
from core.settings.load import load_settings
from core.sizes import format_size
from core.workbench import Workbench
from tui.cli.arguments import Arguments
from tui.cli.output import write_text

DECLINED_STATUS = 1


def run_rm(given: Arguments) -> int:
    """Find, ask, delete; 1 when the answer is no. Raises BenchtopError."""
    store = Workbench(load_settings(config_file=given.config)).models.store
    shelf = store.shelf
    entry = find_entry(given.model, shelf.scan(), shelf.cache)
    check_deletable(shelf, entry)
    if not given.yes and not _agreed(entry):
        write_text("Nothing was deleted.")
        return DECLINED_STATUS
    freed = store.delete(entry)
    write_text(f"Deleted {entry.name}; {format_size(freed) if freed else 'nothing'} became free.")
    return 0


def _agreed(entry: LibraryEntry) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"There is no terminal to ask whether {entry.name} is to be deleted; say --yes.")
    size = format_size(entry.size) if entry.size else "empty"
    write_text(make_printable(f"Delete {entry.name} ({size}) at {entry.path}? [y/N] "), end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")
