"""What a device is: a memory that parts of a model can lie in, and what computes on it."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class DeviceKind(Enum):
    """Whose memory a device has."""

    HOST = "host"
    """The processor, and the machine's memory."""
    UNIFIED = "unified"
    """An accelerator that takes its memory from the host's, as Apple's and integrated graphics do: what lies here is
    missing there."""
    CARD = "card"
    """An accelerator with memory of its own."""
    REMOTE = "remote"
    """One of another machine, or behind another process."""


class Backend(Enum):
    """The part of llama.cpp that computes on a device, by the name of its registry."""

    CPU = "CPU"
    CUDA = "CUDA"
    ROCM = "ROCm"
    METAL = "MTL"
    VULKAN = "Vulkan"
    SYCL = "SYCL"
    MUSA = "MUSA"
    CANN = "CANN"
    OPENCL = "OpenCL"
    WEBGPU = "WebGPU"
    OPENVINO = "OPENVINO"
    RPC = "RPC"
    UNKNOWN = ""
    """One that came after this list was made, or none: no library that is loaded computes there."""


class Device(Struct, frozen=True):
    """A device at one moment."""

    name: str
    """As its maker calls it, for users."""
    kind: DeviceKind
    total: int
    """Bytes; for an accelerator that shares the host's memory, as many as it may take."""
    free: int
    """Bytes that can be taken now, without swapping."""
    id: str = ""
    """As llama.cpp calls it: `CUDA0`, `Vulkan0`, `MTL0`, `RPC0[host:port]`; empty for the host."""
    backend: Backend = Backend.CPU
    load: float | None = None
    """Percent of its time that it computes, 0 to 100; None where nobody tells."""
    address: str = ""
    """On the PCI bus, in small letters: `0000:c1:00.0`. Empty where it has none, or nobody tells."""

    @property
    def used(self) -> int:
        """Bytes that are taken, by this process and all others."""
        return max(0, self.total - self.free)

    @property
    def is_accelerator(self) -> bool:
        return self.kind is not DeviceKind.HOST
