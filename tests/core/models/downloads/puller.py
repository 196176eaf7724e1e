"""A process of its own that pulls: `python -m ...puller ENDPOINT FOLDER QUANT.json [BYTES A FILE MAY HAVE]`.

Prints a line of JSON every now and then, and ends with 0 when the download is done.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import msgspec

from core.models.downloads.manager import Downloads
from core.models.downloads.status import DownloadItem, DownloadState
from core.models.hub.endpoint import HubAccess
from core.models.hub.repository import Quant
from core.retry import Patience
from tests.core.models.downloads.conftest import SETTINGS


def main(endpoint: str, folder: Path, quant: Quant) -> int:
    access = HubAccess(endpoint, folder / "hub")
    downloads = Downloads(folder / "state", SETTINGS, access, patience=Patience(first=0.01, longest=0.05))
    key = downloads.enqueue(quant)
    while (item := downloads.wait(key, 0.02)).state.active:
        show(item)
    show(item)
    return 0 if item.state is DownloadState.DONE else 1


def show(item: DownloadItem) -> None:
    sys.stdout.write(msgspec.json.encode(item).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 4:
        limit = int(sys.argv[4])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), msgspec.json.decode(Path(sys.argv[3]).read_bytes(), type=Quant)))
