"""A store that stands still: a library, a catalog and a Hub of fixed numbers, and downloads that go where told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from core.contract.artifact import SCRIPT, Artifact
from core.contract.options import KvType
from core.devices.device import Device, DeviceKind
from core.errors import HubError, ModelNotFound, RepositoryNotFound
from core.models.catalog import Catalog, decode_catalog
from core.models.downloads.status import DownloadItem, DownloadState, Resumed
from core.models.fit.estimate import Judged, find_largest_context, judge_fit
from core.models.fit.parts import Setup
from core.models.fit.speed import estimate_speed
from core.models.formats.header import Header, Layer
from core.models.hub.repository import Quant, RepoFile, Repository
from core.models.hub.search import Filters, Found, Page
from core.models.library.scan import LibraryEntry, Location
from core.models.library.servers import ask_servers
from core.models.resolve import read_own
from core.names import Name
from core.settings.profile import Profile
from core.settings.schema import LibrarySettings
from core.snapshots import ModelKind

MEGA = 1_000_000
FREE = 9_400 * MEGA
MEMORY = (Device("a processor", DeviceKind.HOST, 16_000 * MEGA, FREE),)
QWEN = "Qwen/Qwen3-4B-GGUF"
CATALOG = f"""
["qwen3-4b"]
title = "Qwen3 4B"
parameters = 4.02
licence = "apache-2.0"
starter = true
gguf = "{QWEN}"

["llama-3.3-70b"]
title = "Llama 3.3 70B Instruct"
parameters = 70.6
licence = "llama3.3"
gguf = "bartowski/Llama-3.3-70B-Instruct-GGUF"

["whisper-small"]
title = "Whisper small"
task = "speech"
parameters = 0.244
licence = "mit"
whisper = {{ fp16 = "ggerganov/whisper.cpp/ggml-small.bin" }}
default = "fp16"
"""
SIZES = {"Q4_K_M": 2_497, "Q6_K": 3_306, "Q8_0": 4_280, "BF16": 8_051, "F32": 16_090}
"""Of the quants of QWEN, in millions of bytes."""


def file(name: str, size: int, problem: str | None = None, **more: object) -> LibraryEntry:
    format_ = "gguf" if problem is None else None
    path = Path("models") / f"{name}.gguf"
    return LibraryEntry(name, path, format_, size, False, problem, **more)  # type: ignore[arg-type]


ENTRIES = (
    LibraryEntry("guide", Path("guide.gguf"), "gguf", int(3.9 * MEGA), True, location=Location.BUILT_IN),
    LibraryEntry("echo", Path("echo"), SCRIPT, 0, False, location=Location.BUILT_IN),
    file("Qwen3-0.6B-Q8_0", 639 * MEGA, engines=("llamacpp",)),
    file("half-a-download", 12 * MEGA, "The file ends before its tensors do; download it again."),
)


def found(
    name: str, parameters: int, downloads: int, likes: int, licence: str = "apache-2.0", *, gated: bool = False
) -> Found:
    updated = datetime(2026, 1, 1, tzinfo=UTC)
    formats = ("gguf",)
    return Found(name, "text-generation", formats, parameters, licence, downloads, likes, updated, gated)


FOUND = (
    found(QWEN, 4_020_000_000, 184_211, 212),
    found("bartowski/Qwen3-32B-Instruct-GGUF", 32_800_000_000, 61_042, 96),
    found("unsloth/Qwen3-14B-128K-GGUF", 14_800_000_000, 40_377, 71),
    found("someone/qwen3-finetune-gated", 4_020_000_000, 912, 4, "other", gated=True),
)


def header(size: int = 2_497 * MEGA, label: str = "Q4_K_M") -> Header:
    """Of the shape of Qwen3 4B."""
    return Header(
        "gguf",
        "qwen3",
        "Qwen3 4B",
        label,
        4_020_000_000,
        size,
        (Layer(8, 128, 128),) * 36,
        40_960,
        width=2560,
        hidden=9728,
        heads=32,
        vocabulary=151_936,
        merges=151_387,
        template=True,
    )


def repository(name: str = QWEN) -> Repository:
    stem = name.rpartition("/")[2].removesuffix("-GGUF")
    files = [RepoFile(f"{stem}-{label}.gguf", size * MEGA) for label, size in SIZES.items()]
    quants = [Quant(name, "1" * 40, label, "gguf", (each,)) for label, each in zip(SIZES, files, strict=True)]
    return Repository(name, "1" * 40, tuple(files), tuple(quants))


class StillDownloads:
    """Keeps what it was told to do; `rows` is what it shows."""

    def __init__(self) -> None:
        self.rows: list[DownloadItem] = []
        self.asked: list[tuple[str, ...]] = []
        self.resumptions = 0

    def items(self) -> tuple[DownloadItem, ...]:
        return tuple(self.rows)

    @property
    def under_way(self) -> int:
        return sum(item.state.active for item in self.rows)

    def enqueue(self, quant: Quant) -> str:
        self.asked.append(("enqueue", quant.name))
        key = f"dl-{len(self.rows) + 1}"
        self.rows.append(DownloadItem(key, quant.name, DownloadState.RUNNING, quant.size, 0))
        return key

    def pause(self, key: str) -> None:
        self._move("pause", key, DownloadState.PAUSED)

    def resume(self, key: str) -> None:
        self._move("resume", key, DownloadState.RUNNING)

    def resume_pending(self) -> Resumed:
        self.resumptions += 1
        return Resumed()

    def cancel(self, key: str, *, discard: bool = False) -> None:
        self._move("discard" if discard else "cancel", key, DownloadState.CANCELLED)

    def forget(self, key: str) -> None:
        self.asked.append(("forget", key))
        self.rows = [each for each in self.rows if each.id != key]

    def finish(self, key: str) -> None:
        self._move("finish", key, DownloadState.DONE)

    def _move(self, what: str, key: str, state: DownloadState) -> None:
        self.asked.append((what, key))
        self.rows = [replace(each, state=state) if each.id == key else each for each in self.rows]


class StillStore:
    """Its Hub answers every search with `found`, waits for a gate where a search has one, and fails with `problem`."""

    formats = ("gguf", "ggml-whisper")

    def __init__(self) -> None:
        self.entries: tuple[LibraryEntry, ...] = ENTRIES
        self.catalog: Catalog = decode_catalog(CATALOG)
        self.downloads = StillDownloads()
        self.problem: HubError | None = None
        self.servers: tuple[str, ...] = ()
        self.found: Callable[[str], Sequence[Found]] = lambda _: FOUND
        self.gates: dict[str, threading.Event] = {}
        """By the words of a search."""
        self.searches: list[tuple[str, Filters]] = []
        self.headers_read: list[str] = []
        self.deleted: list[str] = []
        self.libraries: list[LibrarySettings] = []

    def search(self, words: str, filters: Filters = Filters(), more: str | None = None) -> Page:
        self.searches.append((words, filters))
        if words in self.gates:
            self.gates[words].wait()
        if self.problem is not None:
            raise self.problem
        return Page(tuple(self.found(words)))

    def repository(self, repo: str, revision: str | None = None) -> Repository:
        if self.problem is not None:
            raise self.problem
        if repo != QWEN:
            raise RepositoryNotFound(f"The Hub has no repository {repo}, or hides it: check the name.")
        return repository()

    def ask_servers(self) -> tuple[LibraryEntry, ...]:
        return ask_servers(self.servers)

    def use_library(self, settings: LibrarySettings) -> None:
        self.libraries.append(settings)

    def read_own(self, text: str) -> Name:
        return read_own(text)

    def resolve(self, name: Name) -> Artifact:
        called = str(name)
        entry = next((each for each in self.entries if each.name == called), None)
        if entry is None or entry.format is None:
            raise ModelNotFound(called, f"There is no model called {called!r}; give one that is here.")
        return Artifact(called, entry.format, entry.path, entry.size)

    def header(self, model: Quant | Artifact) -> Header:
        if self.problem is not None:
            raise self.problem
        self.headers_read.append(model.name)
        return header(model.size)

    def judge(
        self,
        header: Header,
        *,
        context: int | None = None,
        kv: KvType | None = None,
        memory: tuple[Device, ...] | None = None,
        profile: Profile = Profile(),
    ) -> Judged:
        setup = Setup(context or 8_192, kv or KvType.F16)
        # This machine's own memory is another one wherever tests run.
        there = memory if memory is not None and len(memory) > 1 else MEMORY
        fit = judge_fit(header, setup, there)
        speed = estimate_speed(header, fit.plan)
        return Judged(header, setup, fit, find_largest_context(header, setup, there), speed)

    def find_profile(self, _: str) -> Profile:
        return Profile()

    def expect_kind(self, artifact: Artifact, *, header: Header | None = None) -> ModelKind:
        return ModelKind.CHAT

    def delete(self, entry: LibraryEntry) -> int:
        self.deleted.append(entry.name)
        self.entries = tuple(each for each in self.entries if each != entry)
        return entry.size
