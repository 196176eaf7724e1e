"""The devices that llama.cpp's library ggml has, by its C functions, of which the bindings have none."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from core.devices.device import Backend, Device, DeviceKind

CPU_TYPE, GPU_TYPE, INTEGRATED_TYPE = 0, 1, 2
"""ggml's kinds of devices; others only help the processor, or stand for several."""
SPARE_BYTES: Final = 64
"""Room for the abilities at the end of ggml's struct, of which each version adds some."""
MOST_DEVICES: Final = 256
PARTS: Final = ("ggml", "ggml-base", "llama")
"""The files that may have a function: on Windows a library does not tell those of the libraries it needs."""
RPC_PART: Final = b"RPC"
ADD_SERVER: Final = b"ggml_backend_rpc_add_server"
AbortCallback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
"""`ggml_abort_callback_t` of ggml.h."""


class GgmlDevice(Struct, frozen=True):
    """A device with what the library knows it by."""

    device: Device
    handle: int
    """`ggml_backend_dev_t`."""


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


class GgmlLibrary:
    """The library of a folder. The first question for devices makes a context on each card, which takes half a gigabyte
    there for as long as the process lives, and a broken driver may fault or hang."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where there is no such library, AttributeError for one that is too old to tell its devices."""
        self._paths = [path for name in PARTS if (path := find_library(folder, name)) is not None]
        self._libraries = [ctypes.CDLL(str(self._paths[0] if self._paths else folder / "ggml"))]
        self._count = self._find("ggml_backend_dev_count", ctypes.c_size_t)
        self._get = self._find("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
        self._describe = self._find("ggml_backend_dev_get_props", None, ctypes.c_void_p, ctypes.POINTER(_Properties))
        self._part = self._find("ggml_backend_dev_backend_reg", ctypes.c_void_p, ctypes.c_void_p)
        self._name_part = self._find("ggml_backend_reg_name", ctypes.c_char_p, ctypes.c_void_p)
        self._say = self._find("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
        self._aborting: Any = None
        """What the library calls before it ends the process."""
        if not self._count():
            # Built with parts that are loaded when they are wanted.
            self._find("ggml_backend_load_all_from_path", None, ctypes.c_char_p)(os.fsencode(folder))

    def list_accelerators(self, lost: Collection[str] = ()) -> tuple[GgmlDevice, ...]:
        """What has memory that a model can lie in, beside the host, in the library's order; with what is free there
        now. Devices of `lost` servers, `host:port`, are left out: to ask them would end the process."""
        servers: dict[str, int] = {}
        found = []
        for handle in self._handles():
            if _read(self._say(handle)) in lost:
                continue
            told = _Properties()
            self._describe(handle, ctypes.byref(told))
            if told.type not in (GPU_TYPE, INTEGRATED_TYPE):
                continue
            name, description = _read(told.name), _read(told.description)
            backend = read_backend(self._name_backend(handle))
            kind = DeviceKind.UNIFIED if told.type == INTEGRATED_TYPE or backend is Backend.METAL else DeviceKind.CARD
            if backend is Backend.RPC:
                kind = DeviceKind.REMOTE
                if "[" not in name:
                    # The name counts all servers' devices, in the order in which a process met them; buffers are
                    # called so, by the server.
                    name = f"RPC{servers.setdefault(description, 0)}[{description}]"
                    servers[description] += 1
            device = Device(
                description or name,
                kind,
                told.total,
                # What others took beyond a budget makes it less than zero, which this type cannot hold.
                max(0, min(ctypes.c_ssize_t(told.free).value, told.total)),
                id=name,
                backend=backend,
                address=_read(told.address).lower(),
            )
            found.append(GgmlDevice(device, handle))
        return tuple(found)

    def list_backends(self) -> tuple[str, ...]:
        """The names of its parts: `CPU`, `CUDA`."""
        return tuple(dict.fromkeys(self._name_backend(handle) for handle in self._handles()))

    def reaches_servers(self) -> bool:
        """Whether the library has the part that speaks to RPC servers."""
        return self._add_server() is not None

    def add_server(self, endpoint: str) -> None:
        """Add the devices of an RPC server, `host:port`. One that does not answer takes the process with it, so it must
        have been seen to listen. Raises LookupError where the library has no part for servers, or the server none."""
        add = self._add_server()
        if add is None:
            raise LookupError("this build of llama.cpp has no RPC")
        if not (server := add(endpoint.encode())):
            raise LookupError(f"{endpoint} tells of no devices")
        self._find("ggml_backend_register", None, ctypes.c_void_p)(server)

    def watch_aborts(self, told: Callable[[str], None]) -> None:
        """Have `told` called with what the library says when it is about to end the process, which it does as soon as
        that returns; it prints nothing by itself any more. On whatever thread. Raises AttributeError where the library
        is too old to call anybody."""
        self._aborting = AbortCallback(lambda text: told(_read(text)))
        self._find("ggml_set_abort_callback", ctypes.c_void_p, AbortCallback)(self._aborting)

    def get_host_buffers(self) -> int:
        """The type of the host's plain buffers, a `ggml_backend_buffer_type_t`."""
        return int(self._find("ggml_backend_cpu_buffer_type", ctypes.c_void_p)())

    def get_buffers(self, device: GgmlDevice) -> int:
        """The type of a device's own buffers."""
        return int(self._find("ggml_backend_dev_buffer_type", ctypes.c_void_p, ctypes.c_void_p)(device.handle))

    def _add_server(self) -> Callable[[bytes], int | None] | None:
        part = self._find("ggml_backend_reg_by_name", ctypes.c_void_p, ctypes.c_char_p)(RPC_PART)
        if not part:
            return None
        look = self._find("ggml_backend_reg_get_proc_address", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
        address = look(part, ADD_SERVER)
        return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)(address) if address else None

    def _handles(self) -> Iterator[int]:
        for index in range(min(self._count(), MOST_DEVICES)):
            yield self._get(index)

    def _name_backend(self, handle: int) -> str:
        part = self._part(handle)
        return _read(self._name_part(part)) if part else ""

    def _find(self, name: str, result: type | None, *arguments: type) -> Callable[..., Any]:
        while not hasattr(self._libraries[-1], name) and len(self._libraries) < len(self._paths):
            self._libraries.append(ctypes.CDLL(str(self._paths[len(self._libraries)])))
        library = next((each for each in self._libraries if hasattr(each, name)), self._libraries[0])
        found: Callable[..., Any] = getattr(library, name)
        found.restype, found.argtypes = result, arguments  # type: ignore[attr-defined]
        return found


def read_backend(name: str) -> Backend:
    """By the name of a registry; UNKNOWN for one that came after this was written."""
    try:
        return Backend(name)
    except ValueError:
        return Backend.UNKNOWN


def find_library(folder: Path, name: str) -> Path | None:
    """The file of a shared library, as each system calls it."""
    for file in (f"lib{name}.so", f"lib{name}.dylib", f"{name}.dll", f"lib{name}.dll"):
        if (folder / file).exists():
            return folder / file
    return None


def _read(text: bytes | None) -> str:
    return (text or b"").decode("utf-8", "replace").strip()
