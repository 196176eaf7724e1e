"""Reading and writing files so that nothing waits for what is no file, and no reader ever sees half of one."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
"""Not to wait for the other end of a pipe. Windows knows no such thing, and has a text mode that is not wanted."""


def expand_home(text: str) -> Path:
    """A path as a shell reads it. `~nobody` stays as it is written, where pathlib raises RuntimeError."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - see above


def read_regular(path: Path, most: int) -> bytes:
    """All of a file of `most` bytes at most. Raises OSError, also for what is no regular file, such as a pipe, which
    opening would wait for, and for a larger one."""
    with os.fdopen(os.open(path, os.O_RDONLY | _FLAGS), "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if found.st_size > most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def append_line(path: Path, line: bytes) -> None:
    """Add a line, given without its end, to a file; makes both. Behind half a line that somebody left, on one of its
    own. Raises OSError, also for what is no regular file, such as a pipe, which opening would wait for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _FLAGS
    with os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        torn = False
        if found.st_size > 0:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        rest = memoryview(b"\n" * torn + line + b"\n")
        while rest:
            rest = rest[file.write(rest) or 0 :]
        os.fsync(file.fileno())


def write_atomically(path: Path, *parts: bytes) -> None:
    """Write `parts`, one behind the other: temporary file beside it, fsync, rename. Makes the folder. Raises
    OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_new(path: Path, text: str) -> None:
    """Write a file of text that is not there yet; one that cannot be written whole is taken away again. Raises OSError,
    FileExistsError where there is one."""
    file = path.open("x", encoding="utf-8")
    try:
        with file:
            file.write(text)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def has_file(path: Path) -> bool:
    """Whether there is a file, not a folder; False too where the name is too long or one may not look, which pathlib
    raises at."""
    return os.path.isfile(path)  # noqa: PTH113 - see above


def _sync_folder(folder: Path) -> None:
    """Have the new name on the disk too. Windows opens no folders, and some file systems sync none."""
    if os.name != "posix":
        return
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | _FLAGS)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
