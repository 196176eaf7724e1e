"""The Hub: looking for models, listing a repository, and reading a model's header without downloading it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from msgspec import Struct, field

from core.errors import GatedRepository, HubError, RepositoryNotFound, RequestError
from core.kept import keep_value, load_kept
from core.models.formats.header import Header
from core.models.formats.hf_config import MOST_CONFIG_BYTES, Config, find_label
from core.models.formats.read import describe_files
from core.models.formats.source import ByteSource, Damaged
from core.models.hub.endpoint import COMMIT, REPO, HubAccess, check_path, read_hub_access
from core.models.hub.link import HubLink, decode_answer
from core.models.hub.quants import group_quants, list_heads, list_projectors, map_sizes
from core.models.hub.repository import Quant, RepoFile, Repository
from core.models.hub.search import Count, Filters, Page, find_licence, search_models
from core.telemetry.log import get_logger

HEADER_VERSION: Final = 2
"""The version of the kept headers; files of another version are not used."""
log = get_logger(__name__)


class Hub:
    """One Hub, as the environment or `access` names it. `headers` is where headers that were read are kept."""

    def __init__(self, headers: Path, access: HubAccess | None = None) -> None:
        self._headers = headers
        self._access = access
        self._link: HubLink | None = None

    @property
    def link(self) -> HubLink:
        if self._link is None:
            self._link = HubLink(self._access or read_hub_access())
        return self._link

    def search(self, words: str, filters: Filters = Filters(), more: str | None = None) -> Page:
        """See `core.models.hub.search.search_models`. Raises HubError."""
        return search_models(self.link, words, filters, more)

    def repository(self, repo: str, revision: str | None = None) -> Repository:
        """The files of a repository at a revision (the newest when left out), grouped into quants.

        Raises RequestError for what cannot be a repository's name, and HubError.
        """
        _check_name(repo)
        at = f"/revision/{quote(revision, safe='')}" if revision else ""
        answer = self.link.ask(f"api/models/{repo}{at}", [("blobs", "true")], repo=repo)
        told = decode_answer(answer.body, _Info, repo)
        files = tuple(each.file for each in told.siblings)
        _check_told(told, repo, files)
        config = self._read_config(repo, told.sha, files)
        return Repository(
            id=told.id,
            revision=told.sha,
            files=files,
            quants=group_quants(
                told.id,
                told.sha,
                files,
                weights_label=find_label(config) if config is not None else None,
                model_type=config.architecture if config is not None else "",
                head=config.head if config is not None else "",
            ),
            projectors=list_projectors(files),
            heads=list_heads(files),
            gated=told.is_gated,
            private=told.private,
            task=told.pipeline_tag,
            licence=find_licence(told.tags),
            downloads=told.downloads,
            likes=told.likes,
            updated=told.last_modified,
        )

    def header(self, quant: Quant) -> Header:
        """Read by ranges, a MiB or a few; kept for the commit. Raises ArtifactError for a damaged one, HubError."""
        path = self._headers / f"{_digest(quant)}.msgpack"
        kept = load_kept(path, Header, "msgpack")
        if kept is not None:
            return kept
        header = describe_files(quant.format, quant.name, RepoFiles(self.link, quant))
        keep_value(path, header, "msgpack")
        return header

    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    def _read_config(self, repo: str, revision: str, files: tuple[RepoFile, ...]) -> Config | None:
        """None where config.json cannot be had, and where it tells nothing that is asked for."""
        names = {file.path: file.size for file in files}
        if not 0 < names.get("config.json", 0) <= MOST_CONFIG_BYTES or not any(
            name.endswith((".safetensors", ".onnx")) for name in names
        ):
            return None
        try:
            return Config(self.link.part(repo, revision, "config.json", 0, names["config.json"]))
        except (GatedRepository, RepositoryNotFound, Damaged):
            # The listing is open and the files are not; then the label is guessed by the repository's name.
            return None


class RepoFiles:
    """The files of a quant, read by ranges."""

    def __init__(self, link: HubLink, quant: Quant) -> None:
        self._link = link
        self._quant = quant
        self.sizes: Mapping[str, int] = map_sizes(quant.files)

    def open(self, path: str) -> ByteSource:
        return _RemoteFile(self._link, self._quant, path, self.sizes[path])


class _RemoteFile:
    def __init__(self, link: HubLink, quant: Quant, path: str, size: int) -> None:
        self._link = link
        self._quant = quant
        self._path = path
        self.size = size

    def read(self, start: int, length: int) -> bytes:
        length = min(length, self.size - start)
        if length <= 0:
            return b""
        return self._link.part(self._quant.repo, self._quant.revision, self._path, start, length)


class _Lfs(Struct):
    sha256: str | None = None


class _Sibling(Struct, rename={"path": "rfilename"}):
    path: str
    size: Count | None = None
    lfs: _Lfs | None = None

    @property
    def file(self) -> RepoFile:
        return RepoFile(self.path, self.size or 0, self.lfs.sha256 if self.lfs else None)


class _Info(Struct, rename={"last_modified": "lastModified"}):
    """The part of the Hub's answer about a model that is used."""

    id: str
    sha: str
    siblings: list[_Sibling] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    pipeline_tag: str | None = None
    gated: bool | str | None = None
    """False, or how the owner lets others in: `auto`, `manual`."""
    private: bool = False
    downloads: Count = 0
    likes: Count = 0
    last_modified: datetime | None = None

    @property
    def is_gated(self) -> bool:
        return bool(self.gated)


def _check_name(repo: str) -> None:
    if not REPO.fullmatch(repo) or "/" not in repo or ".." in repo or "--" in repo:
        raise RequestError(f"{repo[:200]!r} cannot be the name of a repository; write owner/name.", "model")


def _check_told(told: _Info, repo: str, files: Sequence[RepoFile]) -> None:
    """Raises HubError for an answer from which no names, addresses and paths may be made here."""
    try:
        _check_name(told.id)
        for file in files:
            check_path(file.path, repo)
    except RequestError as error:
        raise HubError(str(error)) from error
    if not COMMIT.fullmatch(told.sha):
        raise HubError(f"The Hub tells no commit of {repo} but {told.sha[:80]!r}; check HF_ENDPOINT.")


def _digest(quant: Quant) -> str:
    facts = (str(HEADER_VERSION), quant.repo, quant.revision, quant.label, quant.format)
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
