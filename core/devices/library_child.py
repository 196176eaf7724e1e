"""What llama.cpp's library calls the devices of this machine: asked in a process of its own.

The first look makes a context on each card, which takes half a gigabyte of it for as long as the process lives, and a
driver that is broken may fault or hang. `core.devices.library` starts it: `python -m core.devices.library_child FOLDER`
prints a `LibraryLook` as JSON behind MARK. What the library says goes to standard error.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from core.devices.device import Backend, Device, DeviceKind

MARK: Final = "benchtop-devices:"
CPU_TYPE, GPU_TYPE, INTEGRATED_TYPE = 0, 1, 2
"""ggml's kinds of devices; others only help the processor, or stand for several."""
SPARE_BYTES: Final = 64
"""Room for the abilities at the end of ggml's struct, of which each version adds some."""
MOST_DEVICES: Final = 256


class LibraryLook(Struct, frozen=True):
    """What a library told."""

    devices: tuple[Device, ...]
    """The accelerators, in the library's order."""
    backends: tuple[str, ...]
    """The names of its parts: `CPU`, `CUDA`."""


class _Properties(ctypes.Structure):
    """`ggml_backend_dev_props` of ggml-backend.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("free", ctypes.c_size_t),
        ("total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("address", ctypes.c_char_p),
        ("abilities", ctypes.c_ubyte * SPARE_BYTES),
    )


def main() -> int:
    folder = Path(sys.argv[1])
    # What libraries print on standard output must not stand between the lines.
    out = os.dup(1)
    os.dup2(2, 1)
    look = look_at_library(folder)
    os.write(out, f"{MARK}{msgspec.json.encode(look).decode()}\n".encode())
    sys.stderr.flush()
    # Some drivers hang or fault when they are taken down.
    os._exit(0)


def look_at_library(folder: Path) -> LibraryLook:
    """Makes a context on each card, which stays. Raises OSError where there is no such library, AttributeError for one
    that is too old to tell its devices."""
    native = ctypes.CDLL(str(find_library(folder, "ggml") or find_library(folder, "llama") or folder / "ggml"))
    native.ggml_backend_dev_count.restype = ctypes.c_size_t
    native.ggml_backend_dev_get.argtypes, native.ggml_backend_dev_get.restype = [ctypes.c_size_t], ctypes.c_void_p
    if not native.ggml_backend_dev_count():
        # Built with parts that are loaded when they are wanted.
        native.ggml_backend_load_all_from_path(ctypes.c_char_p(os.fsencode(folder)))
    count = min(native.ggml_backend_dev_count(), MOST_DEVICES)
    handles = [ctypes.c_void_p(native.ggml_backend_dev_get(index)) for index in range(count)]
    devices = tuple(device for handle in handles if (device := _describe(native, handle)) is not None)
    return LibraryLook(devices, tuple(dict.fromkeys(_name_backend(native, handle) for handle in handles)))


def _describe(native: ctypes.CDLL, handle: ctypes.c_void_p) -> Device | None:
    """None for what has no memory of its own to lie in: the processor, and what helps it."""
    told = _Properties()
    native.ggml_backend_dev_get_props(handle, ctypes.byref(told))
    if told.type not in (GPU_TYPE, INTEGRATED_TYPE):
        return None
    backend = read_backend(_name_backend(native, handle))
    kind = DeviceKind.UNIFIED if told.type == INTEGRATED_TYPE or backend is Backend.METAL else DeviceKind.CARD
    return Device(
        _read(told.description) or _read(told.name),
        DeviceKind.REMOTE if backend is Backend.RPC else kind,
        told.total,
        min(told.free, told.total),
        id=_read(told.name),
        backend=backend,
        address=_read(told.address).lower(),
    )


def _name_backend(native: ctypes.CDLL, handle: ctypes.c_void_p) -> str:
    native.ggml_backend_dev_backend_reg.restype = ctypes.c_void_p
    native.ggml_backend_reg_name.restype = ctypes.c_char_p
    part = native.ggml_backend_dev_backend_reg(handle)
    return _read(native.ggml_backend_reg_name(ctypes.c_void_p(part))) if part else ""


def read_backend(name: str) -> Backend:
    """By the name of a registry; UNKNOWN for one that came after this was written."""
    try:
        return Backend(name)
    except ValueError:
        return Backend.UNKNOWN


def _read(text: bytes | None) -> str:
    return (text or b"").decode("utf-8", "replace").strip()


def find_library(folder: Path, name: str) -> Path | None:
    """The file of a shared library, as each system calls it."""
    for file in (f"lib{name}.so", f"lib{name}.dylib", f"{name}.dll", f"lib{name}.dll"):
        if (folder / file).exists():
            return folder / file
    return None


if __name__ == "__main__":
    sys.exit(main())
