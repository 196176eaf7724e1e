"""The keys that open the server: those of the settings, and those of a file with a table for each."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from core.errors import ConfigError
from core.requests import Caller, Priority
from core.settings.check import build_error, convert_values
from core.settings.file import read_toml
from core.settings.schema import ServerSettings
from core.telemetry.log import get_logger

MOST_KEYS: Final = 10_000
"""In one file: each is compared with what a request shows."""
WHAT: Final = "file of API keys"
READABLE_BITS: Final = stat.S_IRGRP | stat.S_IROTH
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""No blank is in it, so that the names which keys of the settings get are nobody else's."""
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_FileState = tuple[int, int, int, int]
"""What tells one content of a file from another: its number, its bytes, and when it was changed."""

Amount = Annotated[int, Meta(ge=1, le=2**53)]

log = get_logger(__name__)


class KeyLimits(Struct, frozen=True):
    """How much the holder of a key may ask; None is any amount."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Of prompts and answers together, and so of the next."""
    tokens_per_day: int | None = None
    """The same between two midnights of this machine."""
    requests_at_once: int | None = None


class ApiKey(Struct, frozen=True):
    """A key, without the key itself."""

    digest: bytes
    """SHA-256."""
    caller: Caller
    limits: KeyLimits = KeyLimits()


class KeyTable(Struct, frozen=True, forbid_unknown_fields=True):
    """What a file says of one key, under the key's name."""

    key: str | None = None
    sha256: str | None = None
    """In place of the key, its digest: 64 hexadecimal digits, as `printf %s KEY | sha256sum` prints them."""
    admin: bool = False
    metrics: bool = False
    """An admin's key may see them anyway."""
    priority: Priority = Priority.INTERACTIVE
    models: tuple[Annotated[str, Meta(min_length=1)], ...] = ()
    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    tokens_per_day: Amount | None = None
    requests_at_once: Amount | None = None


def digest_key(key: bytes) -> bytes:
    """SHA-256, by which keys are compared."""
    return hashlib.sha256(key).digest()


def name_tenant(digest: bytes) -> str:
    """What stands for a key in caches, by the digest of it: enough to tell keys apart, and no way back to one."""
    return digest.hex()[:16]


def has_keys(server: ServerSettings) -> bool:
    """Whether the settings ask clients for a key."""
    return bool(server.api_keys or server.api_key_file)


def list_keys(server: ServerSettings) -> tuple[ApiKey, ...]:
    """All keys that the settings tell of, each once; empty where clients are asked for none. Reads the file of keys.

    Those that are not of the file may do anything. Raises ConfigError.
    """
    keys: dict[bytes, ApiKey] = {}
    for number, key in enumerate(server.api_keys, 1):
        digest = digest_key(key.encode())
        keys.setdefault(digest, ApiKey(digest, Caller(f"key {number}", name_tenant(digest))))
    if server.api_key_file:
        path = Path(server.api_key_file).expanduser()
        for each in read_key_file(path):
            if (known := keys.get(each.digest)) is not None:
                raise _wrong(path, f"{each.caller.name} has the same key as {known.caller.name}; give each its own.")
            keys[each.digest] = each
    return tuple(keys.values())


class KeySource:
    """The keys of a server's settings, and whether their file has changed since it was read. Waits for the disk, and is
    for one thread at a time."""

    def __init__(self, server: ServerSettings) -> None:
        self._server = server
        self._seen: _FileState | None = None

    @property
    def path(self) -> Path | None:
        """The file of keys; None where there is none."""
        return Path(self._server.api_key_file).expanduser() if self._server.api_key_file else None

    def read(self) -> tuple[ApiKey, ...]:
        """As `list_keys`."""
        # Before it is read: what is written meanwhile is a change.
        self._seen = self._look()
        return list_keys(self._server)

    def has_changed(self) -> bool:
        """Since it was last read, well or not."""
        return self._look() != self._seen

    def _look(self) -> _FileState | None:
        """None where there is no such file, or none that can be looked at."""
        if (path := self.path) is None:
            return None
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_key_file(path: Path) -> Iterator[ApiKey]:
    """The keys of a file of TOML, a table for each under its name. Others who may read the file are warned of in the
    log.

    Raises ConfigError for what is wrong, also for a file without keys: it would leave the server open. No key is in
    the sentence.
    """
    tables = read_toml(path, WHAT)
    if not tables:
        raise ConfigError(f"The {WHAT} {path} has no key; write a table for each, as [alice] with a line `key = `.")
    if len(tables) > MOST_KEYS:
        raise ConfigError(f"The {WHAT} {path} has {len(tables)} keys; {MOST_KEYS} are the most.")
    _warn_of_readers(path)
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            raise _wrong(path, f"{name[:64]!r} is no name of a key; use up to 64 letters, digits and . _ @ -")
        yield _read_table(path, name, table)


def can_others_read(path: Path) -> bool:
    """Whether other users of this machine may read a file, as far as its bits tell; only POSIX has them. Touches the
    disk. Raises OSError."""
    return os.name == "posix" and bool(path.stat().st_mode & READABLE_BITS)


def check_key(key: str) -> str:
    """A key as headers carry it, without blanks around it. Raises ValueError, whose words follow the setting's name."""
    bare = key.strip()
    if not bare:
        raise ValueError("it is empty; leave it out for none")
    if not bare.isprintable():
        raise ValueError("it holds characters that no header can carry")
    return bare


def _read_table(path: Path, name: str, table: object) -> ApiKey:
    if not isinstance(table, dict):
        # Whoever wrote `alice = "KEY"` would find the key in the log.
        raise _wrong(path, f"{name} is no table; write [{name}], and below it a line `key = `.")
    given = {field: value for field, value in table.items() if field not in ("key", "sha256")}
    said = convert_values(given, KeyTable, f"the {WHAT} {path}", prefix=name)
    digest = _read_digest(path, name, table.get("key"), table.get("sha256"))
    limits = KeyLimits(said.requests_per_minute, said.tokens_per_minute, said.tokens_per_day, said.requests_at_once)
    sees_sums = said.admin or said.metrics
    caller = Caller(name, name_tenant(digest), said.priority, said.models, said.admin, sees_sums)
    return ApiKey(digest, caller, limits)


def _read_digest(path: Path, name: str, key: object, sha256: object) -> bytes:
    if (key is None) is (sha256 is None):
        raise _wrong(path, f"{name} needs one of `key` and `sha256`.")
    if sha256 is not None:
        if not (isinstance(sha256, str) and _DIGEST.fullmatch(sha256)):
            raise _wrong(path, f"{name}.sha256 is not the 64 hexadecimal digits of a SHA-256.")
        return bytes.fromhex(sha256)
    if not isinstance(key, str):
        raise _wrong(path, f"{name}.key is no text.")
    try:
        return digest_key(check_key(key).encode())
    except ValueError as error:
        raise _wrong(path, f"{name}.key: {error}.") from error


def _wrong(path: Path, sentence: str) -> ConfigError:
    return build_error(f"the {WHAT} {path}", sentence)


def _warn_of_readers(path: Path) -> None:
    if can_others_read(path):
        log.warning("others of this machine can read the API keys; chmod 600 the file", path=str(path))
