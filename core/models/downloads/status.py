"""A download as front ends see it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from core.errors import BenchtopError


class DownloadState(Enum):
    QUEUED = "queued"
    """Waits for its turn, or for another program that fetches one of its files."""
    RUNNING = "running"
    PAUSED = "paused"
    RETRYING = "retrying"
    """The connection failed and is tried again after a pause."""
    VERIFYING = "verifying"
    """All bytes are here and are being compared with their checksums."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Ended: it goes on only when somebody asks for it anew."""
        return self in (DownloadState.DONE, DownloadState.FAILED, DownloadState.CANCELLED)

    @property
    def active(self) -> bool:
        """Running, or going to run without anybody asking again."""
        return self in (DownloadState.QUEUED, DownloadState.RUNNING, DownloadState.RETRYING, DownloadState.VERIFYING)


class Resumed(Struct, frozen=True):
    """The outcome of resuming several downloads."""

    started: tuple[str, ...] = ()
    """The ids of those that go on."""
    refused: Mapping[str, BenchtopError] = {}
    """Why the others do not, by their ids."""


class DownloadItem(Struct, frozen=True):
    """A download at one moment."""

    id: str
    name: str
    """`owner/name:label`."""
    state: DownloadState
    total: int
    """Bytes of all files."""
    done: int
    """Bytes that are on the disk."""
    rate: float = 0.0
    """Bytes a second over the last few seconds."""
    note: str | None = None
    """What the download waits for, or why it is tried again: one sentence."""
    again: float | None = None
    """Seconds until it is tried again, while it waits for that."""
    error: str | None = None
    """Why it failed: one sentence."""

    @property
    def eta(self) -> float | None:
        """Seconds that are left at this rate; None where nothing moves."""
        return (self.total - self.done) / self.rate if self.rate > 0 and self.state.active else None
