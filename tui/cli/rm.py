"""`tui rm NAME`: delete a model from the Hub's cache or from one of the user's folders."""

from __future__ import annotations

from core.models.library.delete import check_deletable, find_entry
from core.settings.load import load_settings
from core.sizes import format_size
from core.workbench import Workbench
from tui.cli.arguments import Arguments
from tui.cli.output import DECLINED_STATUS, ask_deletion, write_text


def run_rm(given: Arguments) -> int:
    """Find, ask, delete; 1 when the answer is no. Raises BenchtopError."""
    store = Workbench(load_settings(config_file=given.config)).models.store
    shelf = store.shelf
    entry = find_entry(given.model, shelf.scan(), shelf.cache)
    check_deletable(shelf, entry)
    size = format_size(entry.size) if entry.size else "empty"
    if not given.yes and not ask_deletion(entry.name, f"Delete {entry.name} ({size}) at {entry.path}?"):
        return DECLINED_STATUS
    freed = store.delete(entry)
    write_text(f"Deleted {entry.name}; {format_size(freed) if freed else 'nothing'} became free.")
    return 0
