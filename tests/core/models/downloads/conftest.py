"""A Hub, a cache and a manager of downloads, each test's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.models.downloads.manager import Downloads
from core.models.downloads.status import DownloadItem, DownloadState
from core.models.hub.endpoint import HubAccess
from core.models.hub.repository import Quant, RepoFile
from core.retry import Patience
from core.settings.schema import DownloadSettings
from tests.fakes.hub import LoopbackHub, Sparse

PATIENCE = 60.0
"""Seconds after which a test that waits gives up. No test depends on how long anything takes."""
QUICK = Patience(first=0.01, longest=0.05, attempts=4)
SETTINGS = DownloadSettings(reserve=0, stall_timeout=30.0)


def quant_of(hub: LoopbackHub, repo: str, label: str = "Q4", *, revision: str = "main") -> Quant:
    """All files of a repository, as a listing would tell them."""
    held = hub.find(repo, revision)
    assert held is not None
    files = tuple(RepoFile(file.path, file.size, file.sha256 if file.lfs else None) for file in held.files.values())
    return Quant(repo, held.commit, label, "gguf", files)


@dataclass
class Bench:
    """What a test of downloads works with."""

    hub: LoopbackHub
    root: Path
    made: list[Downloads] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.root / "hub"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def access(self, token: str | None = None) -> HubAccess:
        return HubAccess(self.hub.url, self.cache, token)

    def manager(
        self,
        settings: DownloadSettings = SETTINGS,
        *,
        token: str | None = None,
        patience: Patience = QUICK,
        free: Callable[[Path], int] = lambda _: 1 << 50,
    ) -> Downloads:
        """Each call is as a restart of the program."""
        made = Downloads(self.state, settings, self.access(token), patience=patience, free=free)
        self.made.append(made)
        return made

    def add(self, content: bytes | Sparse, repo: str = "owner/model", path: str = "model.gguf") -> Quant:
        self.hub.add(repo, {path: content})
        return quant_of(self.hub, repo)

    def pointer(self, quant: Quant, path: str = "model.gguf") -> Path:
        return self.cache / f"models--{quant.repo.replace('/', '--')}" / "snapshots" / quant.revision / path

    def partials(self) -> list[Path]:
        return sorted(self.cache.rglob("*.incomplete"))

    def outside(self) -> list[Path]:
        """Files that are neither in the cache nor in the folder for the state."""
        return [
            path
            for path in self.root.parent.rglob("*")
            if path.is_file() and not path.is_relative_to(self.cache) and not path.is_relative_to(self.state)
        ]


def finished(downloads: Downloads, key: str) -> DownloadItem:
    item = downloads.wait(key, PATIENCE)
    assert not item.state.active, item
    return item


def until(downloads: Downloads, key: str, condition: Callable[[DownloadItem], bool]) -> DownloadItem:
    """The first report of a download that fits."""
    found: list[DownloadItem] = []
    seen = threading.Event()

    def tell(item: DownloadItem) -> None:
        if item.id == key and condition(item):
            found.append(item)
            seen.set()

    stop = downloads.listen(tell)
    try:
        while not seen.wait(0.02):
            # Reports are thinned out; what one of them left out is asked for.
            tell(downloads.item(key))
    finally:
        stop()
    return found[0]


def reached(size: int) -> Callable[[DownloadItem], bool]:
    return lambda item: item.done >= size


def in_state(state: DownloadState) -> Callable[[DownloadItem], bool]:
    return lambda item: item.state is state


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with LoopbackHub() as hub:
        made = Bench(hub, tmp_path / "root")
        yield made
        for downloads in made.made:
            downloads.close()
