"""Another program that has memory of a device: a process that takes buffers there, by llama.cpp's own library.

`python -m tests.fakes.held_memory FOLDER DEVICE LEFT` takes all but LEFT bytes of what the device tells to be free,
prints what it tells then, and holds it until its standard input ends.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.devices.ggml import GgmlDevice, GgmlLibrary, find_library

PIECE_BYTES: Final = 256 << 20
"""Of a buffer: some drivers give no large ones."""


@contextmanager
def hold_memory(folder: Path, device: str, left: int) -> Iterator[int]:
    """Hold a device's memory, by the library of a folder, for as long as the context is; what is free there then, in
    bytes, as the device tells it. Raises RuntimeError where it cannot be had."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.fakes.held_memory", str(folder), device, str(left)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            told = holder.stdout.readline()
            if not told.strip().isdigit():
                raise RuntimeError(f"no memory of {device} can be held")
            yield int(told)
        finally:
            holder.stdin.close()
            holder.wait()


def _find(library: GgmlLibrary, name: str) -> GgmlDevice:
    return next(each for each in library.list_accelerators() if each.device.id == name)


def main() -> None:
    folder, name, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    out = os.dup(1)
    os.dup2(2, 1)
    library = GgmlLibrary(folder)
    device = _find(library, name)
    take = ctypes.CDLL(str(find_library(folder, "ggml-base"))).ggml_backend_buft_alloc_buffer
    take.restype, take.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_size_t)
    buffers = library.get_buffers(device)
    wanted = device.device.free - left
    while wanted > 0 and take(buffers, min(PIECE_BYTES, wanted)):
        wanted -= PIECE_BYTES
    os.write(out, f"{_find(library, name).device.free if wanted <= 0 else 'short'}\n".encode())
    sys.stdin.read()
    # Some drivers hang when they are taken down.
    os._exit(0)


if __name__ == "__main__":
    main()
