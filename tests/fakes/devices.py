"""Drivers, libraries and kernels that tell of cards which are not there.

NVML and llama.cpp's libraries are compiled, so that what asks them is run for real; the kernel's files are written.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

MIB = 1 << 20
GIB = 1 << 30


class FakeCard(NamedTuple):
    name: str
    address: str
    total: int
    free: int
    load: int = 0
    tells_memory: bool = True
    is_lost: bool = False


class FakeGgmlDevice(NamedTuple):
    name: str
    description: str
    backend: str
    total: int
    free: int
    type: int = 1
    """ggml's number: 0 a processor, 1 a card, 2 graphics inside a processor, 3 what helps the processor."""
    address: str | None = None


PROCESSOR = FakeGgmlDevice("CPU", "a processor", "CPU", 64 * GIB, 64 * GIB, 0)


def compile_library(source: str, path: Path) -> Path:
    """A shared library of C; skips the test where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    code = path.with_suffix(".c")
    code.write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-O0", "-o", str(path), str(code)], check=True)
    return path


NVML = """
#include <string.h>
#include <unistd.h>
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } utilization_t;
int init_code = 0, hang_seconds = 0, cards = CARDS;
static const char *names[] = { NAMES };
static const char *addresses[] = { ADDRESSES };
unsigned long long totals[] = { TOTALS };
unsigned long long frees[] = { FREES };
unsigned loads[] = { LOADS };
static int tells[] = { TELLS };
static int lost[] = { LOST };
#define AT(handle) ((int)((char *)(handle) - (char *)1))
int nvmlInitWithFlags(unsigned flags) { if (hang_seconds) sleep(hang_seconds); return init_code; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "it was told to"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = cards; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    if (lost[index]) return 15;
    *handle = (char *)1 + index; return 0;
}
int nvmlDeviceGetName(void *handle, char *name, unsigned length) { strncpy(name, names[AT(handle)], length); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    int at = AT(handle);
    if (!tells[at]) return 3;
    memory->total = totals[at]; memory->free = frees[at]; memory->used = totals[at] - frees[at]; return 0;
}
int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *rates) { rates->gpu = loads[AT(handle)]; return 0; }
int nvmlDeviceGetPciInfo_v3(void *handle, pci_t *pci) { strncpy(pci->bus_id, addresses[AT(handle)], 32); return 0; }
"""


def build_nvml(path: Path, cards: Sequence[FakeCard], monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """NVIDIA's library with these cards, as the one that `pynvml` has loaded; its variables may be set."""
    pynvml = pytest.importorskip("pynvml")
    values = {
        "CARDS": str(len(cards)),
        "NAMES": ", ".join(json.dumps(card.name) for card in cards),
        "ADDRESSES": ", ".join(json.dumps(card.address) for card in cards),
        "TOTALS": ", ".join(f"{card.total}ull" for card in cards),
        "FREES": ", ".join(f"{card.free}ull" for card in cards),
        "LOADS": ", ".join(str(card.load) for card in cards),
        "TELLS": ", ".join(str(int(card.tells_memory)) for card in cards),
        "LOST": ", ".join(str(int(card.is_lost)) for card in cards),
    }
    source = NVML
    for word, value in values.items():
        source = source.replace(f"{{ {word} }}", f"{{ {value or '0'} }}").replace(f"= {word};", f"= {value};")
    library = ctypes.CDLL(str(compile_library(source, path / "libnvidia-ml.so.1")))
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return library


GGML = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
typedef struct {
    const char *name, *description; size_t free, total; int type; const char *address; unsigned char caps[CAPS];
} props_t;
static const props_t devices[] = { DEVICES };
static const char *backends[] = { BACKENDS };
size_t ggml_backend_dev_count(void) { BEFORE return sizeof(backends) / sizeof(*backends); }
void *ggml_backend_dev_get(size_t index) { return (void *)&devices[index]; }
void ggml_backend_dev_get_props(const props_t *device, props_t *props) { *props = *device; }
const char *ggml_backend_dev_description(const props_t *device) { return device->description; }
const char **ggml_backend_dev_backend_reg(const props_t *device) { return &backends[device - devices]; }
const char *ggml_backend_reg_name(const char **backend) { return *backend; }
"""


def build_ggml(
    folder: Path,
    devices: Sequence[FakeGgmlDevice],
    *,
    before: str = "",
    parts: Sequence[str] = ("cuda",),
    caps: int = 5,
) -> Path:
    """A folder with llama.cpp's libraries, which tell of these devices after the statements `before`."""

    def quote(text: str | None) -> str:
        return "0" if text is None else json.dumps(text)

    rows = ", ".join(
        f"{{ {quote(each.name)}, {quote(each.description)}, {each.free}ull, {each.total}ull, {each.type}, "
        f"{quote(each.address)}, {{ 1 }} }}"
        for each in devices
    )
    source = GGML.replace("DEVICES", rows).replace("BACKENDS", ", ".join(quote(each.backend) for each in devices))
    source = source.replace("CAPS", str(caps)).replace("BEFORE", before)
    compile_library(source, folder / "libggml.so")
    for part in ("base", "cpu", *parts):
        (folder / f"libggml-{part}.so").touch()
    return folder


class FakeKernel:
    """A tree as below /sys."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "class/drm").mkdir(parents=True)
        (root / "bus/pci/devices").mkdir(parents=True)

    def add_card(
        self, address: str, vendor: str, files: dict[str, str], *, driver: str = "", node: bool = True
    ) -> Path:
        """A card by its address, with `files` in its folder; with a node of its own where its driver makes one."""
        path = self.root / "devices/pci0000:00" / address
        path.mkdir(parents=True)
        for name, text in {"vendor": vendor, "class": "0x030000", **files}.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text + "\n")
        (self.root / "bus/pci/devices" / address).symlink_to(path)
        if driver:
            place = self.root / "bus/pci/drivers" / driver
            place.mkdir(parents=True, exist_ok=True)
            (path / "driver").symlink_to(place)
        if node:
            number = len(list((self.root / "class/drm").iterdir()))
            made = self.root / "class/drm" / f"card{number}"
            made.mkdir()
            (made / "device").symlink_to(path)
            (self.root / "class/drm" / f"card{number}-DP-1").symlink_to(made)
        return path


def put_program(folder: Path, name: str, script: str) -> Path:
    """A shell script that may be found on the PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
