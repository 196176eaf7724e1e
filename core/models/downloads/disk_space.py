"""Room on the disk, asked for before anything is fetched."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

from core.errors import DiskFull
from core.models.hub.endpoint import RepoCache
from core.models.hub.repository import Quant
from core.sizes import format_size

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, the user's quota is used up, or the file is larger than the file system allows."""


def measure_free_bytes(folder: Path) -> int:
    """The free bytes of the disk on which `folder` is, or will be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def count_missing_bytes(quant: Quant, cache: RepoCache) -> int:
    """Bytes that still have to be fetched."""
    return sum(file.size - cache.held(file) for file in quant.files)


def check_room(name: str, need: int, others: Iterable[int], free: int, reserve: int, cache: Path) -> None:
    """Raises DiskFull where `need` more bytes do not fit on the disk beside the `reserve` that is to stay free and what
    the `others`, downloads under way, still need. All in bytes."""
    promised = sum(others)
    if need <= 0 or need + promised + reserve <= free:
        return
    also = f" of which other downloads need {format_size(promised)}" if promised else ""
    raise DiskFull(
        f"{name} needs {format_size(need)} more and the disk of {cache} has {format_size(free)} free,{also} and "
        f"{format_size(reserve)} are kept; free some room, or set HF_HOME to a folder on a larger disk."
    )


def explain_disk_error(name: str, error: OSError, kept: int) -> DiskFull | None:
    """The error to raise for a failed write that a full disk caused; None for any other."""
    if error.errno not in FULL:
        return None
    return DiskFull(
        f"The disk became full while {name} was downloaded; {format_size(kept)} of it are kept: free some room and "
        "download it again, which goes on from there."
    )
