"""What llama.cpp's library calls the devices of this machine: asked in a process of its own.

The first look makes a context on each card, which takes half a gigabyte of it for as long as the process lives, and a
driver that is broken may fault or hang. `core.devices.library` starts it: `python -m core.devices.library_child FOLDER
[SERVER ...]` prints a `LibraryLook` as JSON behind MARK. What the library says goes to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from core.devices.device import Device
from core.devices.ggml import GgmlLibrary
from core.devices.servers import add_server

MARK: Final = "benchtop-devices:"


class LibraryLook(Struct, frozen=True):
    """What a library told."""

    devices: tuple[Device, ...]
    """The accelerators, in the library's order."""
    backends: tuple[str, ...]
    """The names of its parts: `CPU`, `CUDA`."""
    lost: tuple[str, ...] = ()
    """Why the devices of servers are missing, in sentences."""


def main() -> int:
    folder = Path(sys.argv[1])
    # What libraries print on standard output must not stand between the lines.
    out = os.dup(1)
    os.dup2(2, 1)
    look = look_at_library(folder, sys.argv[2:])
    os.write(out, f"{MARK}{msgspec.json.encode(look).decode()}\n".encode())
    sys.stderr.flush()
    # Some drivers hang or fault when they are taken down.
    os._exit(0)


def look_at_library(folder: Path, servers: Sequence[str] = ()) -> LibraryLook:
    """Makes a context on each card, which stays. `servers`: `host:port` of each. Raises OSError where there is no such
    library, AttributeError for one that is too old to tell its devices."""
    library = GgmlLibrary(folder)
    lost = []
    for server in servers:
        try:
            add_server(library, server)
        except LookupError as error:
            lost.append(str(error))
    devices = tuple(found.device for found in library.list_accelerators())
    return LibraryLook(devices, library.list_backends(), tuple(lost))


if __name__ == "__main__":
    sys.exit(main())
