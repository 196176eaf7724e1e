"""`tui cache ls | rm | verify`: the prefixes of prompts that are stored on disk. No model is loaded for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct
from rich import box
from rich.table import Table

from core.cache.container import DamagedPrefix, PrefixFile, read_stored, verify_prefix
from core.cache.disk import DiskFile, DiskTier
from core.errors import UsageError
from core.serving.prefix_store import open_disk_tier
from core.settings.load import load_settings
from core.settings.schema import find_folders
from core.sizes import format_size
from tui import format as fmt
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import write_json, write_text

NAME_LETTERS = 12
"""Of a file's name, to tell it by."""
FAILED_STATUS = 1


class _Listed(Struct, frozen=True):
    """A file, with what its header says or why it says nothing."""

    file: DiskFile
    found: PrefixFile | None
    problem: str = ""

    @property
    def name(self) -> str:
        return self.file.path.stem[:NAME_LETTERS]

    @property
    def used(self) -> datetime:
        return datetime.fromtimestamp(self.file.used, UTC).astimezone()

    def describe(self) -> dict[str, object]:
        """For programs; null where the file does not say it."""
        header = self.found.header if self.found else None
        return {
            "name": self.name,
            "path": self.file.path,
            "model": header.model if header else None,
            "engine": header.identity.engine if header else None,
            "used": self.used.isoformat(timespec="seconds"),
            "tokens": len(self.found.tokens) if self.found else None,
            "size": self.file.size,
            "problem": self.problem or None,
        }


def list_prefixes(given: Arguments) -> int:
    """Print the list on stdout. Raises BenchtopError."""
    tier = _tier(given)
    listed = list(_listed(tier))[::-1]
    if given.json:
        write_json([each.describe() for each in listed])
        return 0
    if not listed:
        write_text(f"No prefixes are stored in {tier.folder}.")
        return 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "model", "engine", "used"):
        table.add_column(heading)
    for heading in ("tokens", "size"):
        table.add_column(heading, justify="right")
    for each in listed:
        header = each.found.header if each.found else None
        model, engine = (header.model, header.identity.engine) if header else (each.problem, "")
        tokens = fmt.format_count(len(each.found.tokens)) if each.found else ""
        used, size = each.used.strftime("%Y-%m-%d %H:%M"), format_size(each.file.size)
        table.add_row(each.name, model, engine, used, tokens, size)
    Paper().print(table)
    write_text(f"{_count(len(listed))}, {format_size(sum(each.file.size for each in listed))} in {tier.folder}.")
    return 0


def remove_prefixes(given: Arguments) -> int:
    """Delete one prefix, all of a model, or all. Raises UsageError where none is meant."""
    if bool(given.name) == given.all:
        raise UsageError("Name a prefix or a model as `tui cache ls` shows them, or say --all.")
    tier = _tier(given)
    meant = [each for each in _listed(tier) if given.all or _is_meant(each, given.name)]
    if not meant and not given.all:
        raise UsageError(f"No stored prefix has the name {given.name}, and no model; `tui cache ls` lists them.")
    for each in meant:
        tier.remove(each.file.path)
    write_text(f"Deleted {_count(len(meant))}; {format_size(sum(each.file.size for each in meant))} became free.")
    return 0


def verify_prefixes(given: Arguments) -> int:
    """Read and check each file; 1 where some were damaged, which are deleted."""
    tier = _tier(given)
    whole, damaged = 0, 0
    for file in tier.files():
        try:
            verify_prefix(file.path)
            whole += 1
        except DamagedPrefix as error:
            write_text(f"{file.path.stem[:NAME_LETTERS]}: {error}; it is deleted.")
            tier.remove(file.path)
            damaged += 1
        except OSError as error:
            write_text(f"{file.path.stem[:NAME_LETTERS]}: it cannot be read: {error.strerror or error}.")
            damaged += 1
    write_text(f"Whole: {_count(whole)}; damaged: {damaged}.")
    return FAILED_STATUS if damaged else 0


def _count(prefixes: int) -> str:
    return "1 prefix" if prefixes == 1 else f"{prefixes} prefixes"


def _tier(given: Arguments) -> DiskTier:
    return open_disk_tier(load_settings(config_file=given.config), find_folders())


def _listed(tier: DiskTier) -> Iterator[_Listed]:
    """All files, the one used longest ago first."""
    for file in tier.files():
        try:
            yield _Listed(file, read_stored(file.path))
        except DamagedPrefix as error:
            yield _Listed(file, None, f"damaged: {error}")
        except OSError as error:
            yield _Listed(file, None, error.strerror or str(error))


def _is_meant(each: _Listed, name: str) -> bool:
    return each.file.path.stem.startswith(name) or (each.found is not None and each.found.header.model == name)
