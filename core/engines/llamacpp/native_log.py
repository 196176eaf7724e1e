"""What llama.cpp says: kept for the sentences of errors, and read for what it set aside where."""

from __future__ import annotations

import ctypes
import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache

import llama_cpp as native
from msgspec import Struct

from core.contract.placement import HOST, DeviceBuffers
from core.telemetry.model_log import tell_said

INFO_LEVEL = 2
WARNING_LEVEL = 3
"""ggml's log levels: 1 debug, 2 info, 3 warning, 4 error, 5 continues the line before."""
SAID_LEVELS = {WARNING_LEVEL: logging.WARNING, 4: logging.ERROR}
TELLING = ("error", "unknown", "insufficient memory", "out of memory", "failed to", "unable to")
"""What a line has that says why something could not be done."""
MEMORY_SHORT = re.compile(
    r"insufficient memory|out of memory|OutOf(?:Device|Host)Memory|(?:unable|failed) to (?:re)?allocate"
    r"|failed to reserve",
    re.IGNORECASE,
)
"""What a line has where that was for want of memory: the machine's, and an accelerator's."""
_LACKING = re.compile(r"(?:unable|failed) to allocate (?P<buffer>\S+) buffer|Alloc\w* (?P<device>\S+) buffer of size")
_BUFFER = re.compile(
    r"\S+:\s+(?P<buffer>\S+)\s+(?P<use>model|KV|RS|compute|output) buffer size\s*=\s*(?P<size>[\d.]+) MiB"
)
MEBIBYTE_BYTES = 1 << 20


class BufferUse(Enum):
    """What is in a buffer, in llama.cpp's words."""

    WEIGHTS = "model"
    KV = "KV"
    STATES = "RS"
    COMPUTE = "compute"
    OUTPUT = "output"


class ToldBuffer(Struct, frozen=True):
    """A buffer that llama.cpp made."""

    name: str
    use: BufferUse
    bytes: int


class LlamaLog:
    """Keeps llama.cpp's last complaints off the screen and at hand for an error's sentence."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=40)
        self._buffers: list[ToldBuffer] = []

        def keep(level: int, text: bytes, _: ctypes.c_void_p) -> None:
            if level < INFO_LEVEL or not (line := text.decode("utf-8", "replace").strip(" .\n")):
                return
            if level >= WARNING_LEVEL:
                self.lines.append(line)
            elif (told := read_buffer(line)) is not None:
                self._buffers.append(told)
            tell_said(line, SAID_LEVELS.get(level, logging.DEBUG))

        self._callback = native.llama_log_callback(keep)
        native.llama_log_set(self._callback, ctypes.c_void_p(0))

    def clear(self) -> None:
        """Forget what was said before a load."""
        self.lines.clear()
        self._buffers.clear()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is set aside within is given back, and does not count."""
        kept = list(self._buffers)
        try:
            yield
        finally:
            self._buffers[:] = kept

    @property
    def dropped_flash_attention(self) -> bool:
        """Whether llama.cpp found a device without kernels for it, and does without."""
        return any("Flash Attention" in line and "set to disabled" in line for line in self.lines)

    def reason(self) -> str:
        """The most telling of the last lines: the first error. Others only repeat it, and warnings come before it."""
        errors = [line for line in self.lines if any(word in line.lower() for word in TELLING)]
        line = (errors or list(self.lines) or ["llama.cpp gave no reason"])[0]
        for said_before in ("llama_model_load: ", "error loading model: ", "ggml_aligned_malloc: "):
            line = line.removeprefix(said_before)
        return line

    @property
    def lacked_memory(self) -> bool:
        return any(MEMORY_SHORT.search(line) for line in self.lines)

    def find_lacking(self, devices: Iterable[str]) -> str:
        """The id of the device whose memory was short; HOST for the machine's."""
        for line in self.lines:
            if (found := _LACKING.search(line)) is not None:
                return find_device(found["buffer"] or found["device"], devices)
        return HOST

    def sum_buffers(self, devices: Iterable[str]) -> tuple[DeviceBuffers, ...]:
        """What was set aside since the log was cleared, by device, the host first."""
        return sum_buffers(self._buffers, tuple(devices))


def read_buffer(line: str) -> ToldBuffer | None:
    """The buffer that a line tells of: `load_tensors: CUDA0 model buffer size = 501.05 MiB`."""
    found = _BUFFER.match(line)
    if found is None:
        return None
    return ToldBuffer(found["buffer"], BufferUse(found["use"]), round(float(found["size"]) * MEBIBYTE_BYTES))


def find_device(name: str, devices: Iterable[str]) -> str:
    """The device in whose memory a buffer is, by the buffer's name: `CUDA0`, `CUDA0_Split`. What is pinned for a device
    (`CUDA_Host`), mapped or rearranged (`CPU_Mapped`, `CPU_REPACK`, `AMX`) is the host's."""
    return next((device for device in devices if name == device or name.startswith(f"{device}_")), HOST)


def sum_buffers(told: Iterable[ToldBuffer], devices: tuple[str, ...]) -> tuple[DeviceBuffers, ...]:
    """By device, the host first. Of the buffers of passes, which are told anew when they grow, the largest counts."""
    sums: dict[str, dict[BufferUse, int]] = {device: {} for device in (HOST, *devices)}
    for each in told:
        mine = sums[find_device(each.name, devices)]
        before = mine.get(each.use, 0)
        mine[each.use] = max(before, each.bytes) if each.use is BufferUse.COMPUTE else before + each.bytes
    return tuple(
        DeviceBuffers(
            device,
            weights=mine.get(BufferUse.WEIGHTS, 0),
            kv=mine.get(BufferUse.KV, 0) + mine.get(BufferUse.STATES, 0),
            compute=mine.get(BufferUse.COMPUTE, 0),
            output=mine.get(BufferUse.OUTPUT, 0),
        )
        for device, mine in sums.items()
    )


@cache
def open_native_log() -> LlamaLog:
    """The one log of the process: llama.cpp keeps a pointer to the callback for as long as the process lives."""
    native.llama_backend_init()
    return LlamaLog()
