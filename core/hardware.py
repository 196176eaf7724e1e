"""What this machine is: processor, memory. Read, never assumed."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from socket import AddressFamily

import psutil
from msgspec import Struct


class Machine(Struct, frozen=True):
    """The parts of a machine that decide what runs on it, and how fast."""

    system: str
    architecture: str
    processor: str
    features: tuple[str, ...]
    """Instruction set extensions, sorted; empty where the system does not tell."""
    cores: int
    """Physical cores."""
    threads: int
    """Logical processors this process may use."""
    memory: int
    """Bytes."""

    @property
    def apple_silicon(self) -> bool:
        return self.system == "darwin" and self.architecture == "arm64"

    @property
    def fingerprint(self) -> str:
        """Changes when a verdict about what runs here can no longer be trusted."""
        facts = (self.system, self.architecture, self.processor, *self.features, str(self.threads))
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


@cache
def describe_machine() -> Machine:
    name, features = _processor()
    threads = _usable_threads()
    return Machine(
        system=platform.system().lower(),
        architecture=platform.machine().lower(),
        processor=name,
        features=features,
        cores=min(psutil.cpu_count(logical=False) or threads, threads),
        threads=threads,
        memory=psutil.virtual_memory().total,
    )


def list_network_addresses() -> list[str]:
    """Addresses of version 4 by which other machines may know this one, as text."""
    known = (
        each.address for of in psutil.net_if_addrs().values() for each in of if each.family is AddressFamily.AF_INET
    )
    addresses = map(IPv4Address, known)
    return [str(each) for each in addresses if not (each.is_loopback or each.is_link_local or each.is_unspecified)]


def measure_available_memory() -> int:
    """Bytes that can be taken now without swapping."""
    return psutil.virtual_memory().available


def measure_resident() -> int:
    """Bytes of this process that are in memory now, mapped files among them."""
    return psutil.Process().memory_info().rss


def give_back_memory() -> None:
    """Return freed heap to the system where the C library keeps it (glibc does); does nothing elsewhere."""
    if platform.system() != "Linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _usable_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> tuple[str, tuple[str, ...]]:
    """Name and instruction set extensions; Linux tells both, others only the name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), ()
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or fields.get("Hardware") or platform.machine()
    features = fields.get("flags") or fields.get("Features") or ""
    return name, tuple(sorted(features.split()))
