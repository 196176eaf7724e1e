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
"""The disk, the user's share of it, or what one file may have."""


def free_bytes(folder: Path) -> int:
    """Of the disk on which `folder` is, or will be made."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def missing(quant: Quant, cache: RepoCache) -> int:
    """Bytes that still have to be fetched."""
    return sum(file.size - cache.held(file) for file in quant.files)


def check_room(name: str, need: int, others: Iterable[int], free: int, reserve: int, cache: Path) -> None:
    """`others`: what further downloads that are under way still need. All in bytes. Raises DiskFull."""
    promised = sum(others)
    if need <= 0 or need + promised + reserve <= free:
        return
    also = f" of which other downloads need {format_size(promised)}" if promised else ""
    raise DiskFull(
        f"{name} needs {format_size(need)} more and the disk of {cache} has {format_size(free)} free,{also} and "
        f"{format_size(reserve)} are kept; free some room, or set HF_HOME to a folder on a larger disk."
    )


def disk_error(name: str, error: OSError, kept: int) -> DiskFull | None:
    """The sentence for an error of writing, where it is want of room."""
    if error.errno not in FULL:
        return None
    return DiskFull(
        f"The disk became full while {name} was downloaded; {format_size(kept)} of it are kept: free some room and "
        "download it again, which goes on from there."
    )
