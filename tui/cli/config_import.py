"""`tui config import FILE`: a JSON config file becomes the TOML one, once."""

from __future__ import annotations

from pathlib import Path

from core.errors import BenchtopError, UsageError
from core.files import write_atomically
from core.foreign_text import make_printable
from core.settings.file import is_there, read_text
from core.settings.import_json import import_json
from core.settings.load import check_settings
from core.settings.schema import Settings, find_folders
from tui.cli.arguments import Arguments
from tui.cli.output import write_error, write_text
from tui.cli.toml_text import write_tables


def import_config(given: Arguments) -> int:
    """Translate, check, write; what is not taken over is told on stderr and stands in the file as comments. Raises
    ConfigError for a file that cannot be taken over, UsageError where another would be overwritten."""
    source: Path = given.file
    target = given.config or find_folders().config / "config.toml"
    found = import_json(read_text(source, "JSON").encode(), source, Settings)
    check_settings(found.sections, f"the file {source}")
    if target.suffix.lower() == ".json":
        raise UsageError(f"Settings are written as TOML; name {target} something else than .json.")
    if not given.force and is_there(target):
        raise UsageError(f"The config file {target} is there already; --force replaces it, and -C FILE writes another.")
    comments = [f"# {make_printable(note)}" for note in (f"Taken over from {source}.", *found.notes)]
    text = "\n".join([*comments, "", *write_tables(found.sections)])
    try:
        write_atomically(target, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise BenchtopError(f"The config file {target} cannot be written: {error.strerror or error}.") from error
    for note in found.notes:
        write_error(note)
    write_text(f"Wrote {target}; `tui config` shows the settings in force.")
    return 0
