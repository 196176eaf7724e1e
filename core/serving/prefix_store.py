"""The store of computed prefixes as the settings want it."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.cache.disk import DiskTier, find_existing
from core.cache.store import PrefixStore
from core.settings.schema import Folders, Settings
from core.sizes import parse_size

MEGABYTE_BYTES = 1_000_000


def open_disk_tier(settings: Settings, where: Folders) -> DiskTier:
    """The folder of stored prefixes, in use or not. Touches no file in it."""
    wanted = settings.cache
    folder = Path(wanted.disk_folder).expanduser() if wanted.disk_folder else where.cache / "prefixes"
    if wanted.disk_size is None:
        return DiskTier(folder)
    return DiskTier(folder, parse_size(wanted.disk_size, shutil.disk_usage(find_existing(folder)).total))


def open_prefixes(settings: Settings, where: Folders) -> PrefixStore:
    """Where computed prefixes are kept. Touches no file."""
    wanted = settings.cache
    disk = open_disk_tier(settings, where) if wanted.enabled and wanted.disk else None
    return PrefixStore(wanted.size * MEGABYTE_BYTES if wanted.enabled else 0, disk, min_tokens=wanted.disk_min_tokens)
