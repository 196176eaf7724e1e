"""The Hub that downloads come from, and its ordinary cache on this machine, where they lie.

The cache's layout is huggingface_hub's: `models--OWNER--NAME/blobs/ETAG` holds the content, and
`snapshots/COMMIT/PATH` points to it. What is still incomplete is `blobs/ETAG.incomplete`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct

from core.environment import clean_value
from core.errors import HubError, HubUnreachable, RequestError
from core.models.hub.cache import find_cache_folder
from core.models.hub.repository import Quant, RepoFile
from core.names import drop_password

COMMIT = re.compile(r"[0-9a-f]{40}")
REPO = re.compile(r"([0-9A-Za-z_][0-9A-Za-z_.-]{0,95}/)?[0-9A-Za-z_][0-9A-Za-z_.-]{0,95}")
ETAG = re.compile(r"[0-9A-Za-z_-]{1,128}")
NUMBERS = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
PUBLIC_HUB = "https://huggingface.co"


class HubAccess(Struct, frozen=True):
    """How to reach a Hub, and the cache for its files."""

    endpoint: str
    """Without a slash at its end."""
    cache: Path
    token: str | None = None
    offline: bool = False

    def url(self, repo: str, revision: str, path: str) -> str:
        return f"{self.endpoint}/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}"

    @property
    def shown(self) -> str:
        """The endpoint in sentences: without a password."""
        return drop_password(self.endpoint)

    def require_network(self) -> None:
        """Raises HubUnreachable where the environment says that the Hub is not to be asked."""
        if self.offline:
            raise HubUnreachable("HF_HUB_OFFLINE is set, so the Hub is not asked; unset it to search and download.")


class RepoCache:
    """The part of the cache that belongs to one commit of a repository."""

    def __init__(self, cache: Path, repo: str, commit: str) -> None:
        name = "--".join(["models", *repo.split("/")])
        self.folder = cache / name
        self.blobs = self.folder / "blobs"
        self.snapshot = self.folder / "snapshots" / commit
        self._locks = cache / ".locks" / name

    def pointer(self, path: str) -> Path:
        return self.snapshot.joinpath(*path.split("/"))

    def blob(self, etag: str) -> Path:
        return self.blobs / etag

    def partial(self, etag: str) -> Path:
        return self.blobs / f"{etag}.incomplete"

    def lock(self, etag: str) -> Path:
        """The lock that huggingface_hub takes as well, so that other programs wait for us and we for them."""
        return self._locks / f"{etag}.lock"

    def complete(self, file: RepoFile) -> bool:
        return measure_file(self.pointer(file.path)) == file.size

    def held(self, file: RepoFile) -> int:
        """Bytes of a file that are here, complete or not."""
        if self.complete(file):
            return file.size
        if file.sha256 is None:
            return 0
        here = max(0, measure_file(self.blob(file.sha256)), measure_file(self.partial(file.sha256)))
        return min(here, file.size)


def read_hub_access() -> HubAccess:
    """From the environment: HF_ENDPOINT, HF_HOME, HF_HUB_CACHE, HF_TOKEN (or a login), HF_HUB_OFFLINE. An empty
    variable counts as not set. Raises HubError for a malformed endpoint or token.

    huggingface_hub reads most of these once, when it is first imported.
    """
    _check_numbers()
    from huggingface_hub import constants

    endpoint, token = clean_value(constants.ENDPOINT or "") or PUBLIC_HUB, _token()
    if token is not None and not all("!" <= letter <= "~" for letter in token):
        raise HubError(
            "The token for the Hub holds characters that no token has, such as spaces or curly quotes; correct "
            "HF_TOKEN, or run `hf auth login` again."
        )
    if (problem := check_address(endpoint)) is not None:
        raise HubError(f"{drop_password(endpoint)!r} is no address of a Hub ({problem}); correct HF_ENDPOINT.")
    return HubAccess(
        endpoint=endpoint.rstrip("/"), cache=find_cache_folder(), token=token, offline=constants.HF_HUB_OFFLINE
    )


def _check_numbers() -> None:
    """Raises HubError for a variable that has to be a number and is none. Importing huggingface_hub would fail without
    naming the variable."""
    for name in NUMBERS:
        if (value := os.environ.get(name)) is None:
            continue
        try:
            int(value)
        except ValueError as error:
            if not value.strip():
                del os.environ[name]
                continue
            raise HubError(
                f"The environment variable {name} is {value[:40]!r} and no whole number; correct it."
            ) from error


def _token() -> str | None:
    from huggingface_hub import constants, get_token

    if constants.HF_HOME:
        return get_token()
    # With an empty HF_HOME, `get_token` would take any file `token` of the current folder for the login.
    return os.environ.get("HF_TOKEN", "").strip() or None


def check_address(address: str) -> str | None:
    """Why an address cannot be asked over HTTP, in a few words; None where it can."""
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises ValueError for what is no port
        # As it is looked up; raises UnicodeError, a ValueError, for what is no name of a host.
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        return str(error).rstrip(".")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it is not http(s)://host"
    return None


def measure_file(path: Path) -> int:
    """Bytes; -1 where there is no file."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def check_quant(quant: Quant) -> None:
    """Raises RequestError for a repository, commit or file whose name could lead out of the cache."""
    if not REPO.fullmatch(quant.repo) or ".." in quant.repo or "--" in quant.repo:
        raise RequestError(f"{quant.repo[:200]!r} cannot be the name of a repository; write owner/name.", "model")
    if not COMMIT.fullmatch(quant.revision):
        raise RequestError(f"{quant.revision!r} is no commit of {quant.repo}; a commit has 40 hexadecimal digits.")
    if not quant.files:
        raise RequestError(f"{quant.name} has no files, so there is nothing to download.", "model")
    for file in quant.files:
        check_path(file.path, quant.repo)


def check_path(path: str, repo: str) -> None:
    """Raises RequestError for a file's name that is not a plain path below its repository."""
    plain = unquote(path)
    anchored = any(PureWindowsPath(part).drive for part in plain.split("/")) or PurePosixPath(plain).is_absolute()
    if anchored or "\\" in plain or "\0" in plain or not {"", ".", ".."}.isdisjoint(plain.split("/")):
        raise RequestError(
            f"{repo} names a file {path[:200]!r}, which could be written outside the cache, so nothing of it is "
            "downloaded; tell the owner of the repository."
        )
