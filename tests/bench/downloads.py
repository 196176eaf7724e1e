"""Downloads: what a process that is killed again and again fetches twice, and the rate against huggingface_hub's own.

The Hub is a process of its own on loopback, which makes its file as it is read.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from core.models.downloads.manager import Downloads
from core.models.downloads.status import DownloadState
from core.models.hub.endpoint import HubAccess
from core.models.hub.hub import Hub
from core.settings.schema import DownloadSettings
from tests.bench.report import table
from tests.fakes.hub import LoopbackHub, Sparse
from tests.fakes.processes import isolate

REPO = "owner/model-GGUF"
LABEL = "Q4_K_M"
FILE = f"model-{LABEL}.gguf"
PATIENCE = 600.0
SEND_BUFFER = 1 << 18
"""Bytes; what waits in the Hub's own system was never fetched."""
LARGEST_LOSS = 0.05
SMALLEST_RATIO = 0.9


@dataclass(frozen=True)
class Serving:
    """The Hub's process."""

    url: str
    child: subprocess.Popen[str]

    def sent(self) -> int:
        """Bytes of the file that left so far, whether or not the receiver came to read them."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write("sent\n")
        self.child.stdin.flush()
        return int(self.child.stdout.readline())


def run(folder: Path, size: int, kills: int, rounds: int) -> str:
    """`size` in bytes. `folder` is emptied of what was downloaded into it."""
    folder.mkdir(parents=True, exist_ok=True)
    with serving(size) as hub:
        return _killed(hub, folder / "killed", size, kills) + "\n" + _rates(hub, folder / "rates", size, rounds)


@contextmanager
def serving(size: int) -> Iterator[Serving]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.downloads", str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield Serving(child.stdout.readline().strip(), child)
    finally:
        child.stdin.close()
        child.wait(PATIENCE)


def _killed(hub: Serving, folder: Path, size: int, kills: int) -> str:
    """Kill the puller each time the file has grown by a random amount, then let it finish."""
    dice = random.Random(0)
    began, before = time.perf_counter(), hub.sent()
    try:
        for left in range(kills, 0, -1):
            have = _grown(folder)
            offset = have + max(1, dice.uniform(0, 2) * (size - have) / (left + 1))
            child = _puller(hub, folder)
            while _grown(folder) < min(offset, size - 1):
                if child.poll() is not None:
                    raise RuntimeError(f"the puller ended by itself with {child.returncode}")
                time.sleep(0.001)
            child.kill()
            child.wait(PATIENCE)
        code = _puller(hub, folder).wait(PATIENCE)
        sent = hub.sent() - before
        (found,) = folder.rglob(f"snapshots/*/{FILE}")
        right = code == 0 and _sha256(found) == found.resolve().name
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    loss = sent / size - 1
    head = ("size, MB", "kills", "seconds", "SHA-256", "fetched, MB", "fetched twice", "at most")
    row = (
        *(size // 10**6, kills, time.perf_counter() - began, "right" if right else "WRONG"),
        *(sent // 10**6, f"{loss:.2%}", f"{LARGEST_LOSS:.0%}"),
    )
    return table("A download that is killed (SIGKILL) and started again", head, [row])


def _puller(hub: Serving, folder: Path) -> subprocess.Popen[bytes]:
    variables = {"BENCHTOP_HOME": str(folder / "benchtop"), "HF_HOME": str(folder), "HF_ENDPOINT": hub.url}
    return subprocess.Popen(
        [sys.executable, "-m", "tui.cli.main", "pull", f"{REPO}:{LABEL}"],
        env=isolate(folder, **variables),
        stderr=subprocess.DEVNULL,
    )


def _grown(folder: Path) -> int:
    """Bytes of the one file that have arrived."""
    return max((path.stat().st_size for path in folder.glob("hub/*/blobs/*")), default=0)


def _rates(hub: Serving, folder: Path, size: int, rounds: int) -> str:
    """Both ways in turn, so that a slow minute of the machine meets both."""
    plain, ours = [], []
    for _ in range(rounds):
        plain.append(size / _timed(lambda: _fetch_plainly(hub, folder), folder) / 1e6)
        ours.append(size / _timed(lambda: _fetch(hub, folder), folder) / 1e6)
    ratio = median(ours) / median(plain)
    rows = [
        ("hf_hub_download, unverified", median(plain), min(plain), max(plain), None, None),
        ("Downloads, verified", median(ours), min(ours), max(ours), ratio, SMALLEST_RATIO),
    ]
    head = ("what", "median, MB/s", "slowest", "fastest", "ratio", "at least")
    return table(f"Rate of a download of {size // 10**6} MB, {rounds} rounds", head, rows)


def _timed(fetch: Callable[[], None], folder: Path) -> float:
    began = time.perf_counter()
    try:
        fetch()
        return time.perf_counter() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _fetch_plainly(hub: Serving, folder: Path) -> None:
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import hf_hub_download

    hf_hub_download(REPO, FILE, cache_dir=folder, endpoint=hub.url, token=False)


def _fetch(hub: Serving, folder: Path) -> None:
    access = HubAccess(hub.url, folder / "hub")
    asking = Hub(folder / "headers", access)
    downloads = Downloads(folder / "state", DownloadSettings(), access)
    try:
        (quant,) = asking.repository(REPO).quants
        item = downloads.wait(downloads.enqueue(quant), PATIENCE)
        if item.state is not DownloadState.DONE:
            raise RuntimeError(item.error)
    finally:
        downloads.close()
        asking.close()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _serve(size: int) -> None:
    """Say the address, then for each line read the bytes that were sent."""
    with LoopbackHub(send_buffer=SEND_BUFFER) as hub:
        hub.add(REPO, {FILE: Sparse(size)})
        print(hub.url, flush=True)
        for _ in sys.stdin:
            print(hub.bytes_sent("/cdn/*"), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
