"""The devices that the installed llama.cpp can use: found by a short child process, and kept for as long as library,
machine and drivers are the same."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from core.devices.brief_process import run_briefly
from core.devices.device import Backend, Device
from core.devices.ggml import find_library
from core.devices.library_child import MARK, LibraryLook
from core.environment import clean_value, drop_secrets
from core.hardware import describe_machine
from core.kept import keep_value, load_kept
from core.last_words import find_decisive_line
from core.telemetry.log import get_logger

LOOK_SECONDS: Final = 10.0
"""That a look may take: a first context on each of several cards takes seconds."""
LIBRARY_PATH: Final = "LLAMA_CPP_LIB_PATH"
"""The variable that names the folder of another build."""
HIDING: Final[Mapping[Backend, tuple[str, ...]]] = {
    Backend.CUDA: ("CUDA_VISIBLE_DEVICES",),
    Backend.ROCM: ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    Backend.VULKAN: ("GGML_VK_VISIBLE_DEVICES", "VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_LOADER_DRIVERS_DISABLE"),
    Backend.SYCL: ("ONEAPI_DEVICE_SELECTOR", "ZE_AFFINITY_MASK"),
}
"""Variables that hide cards from a part of the library, or put them into another order."""
BACKEND_OF_PART: Final[Mapping[str, Backend]] = {
    **{each.value.lower(): each for each in Backend if each.value},
    "hip": Backend.ROCM,
    "metal": Backend.METAL,
}
"""By the names of files: a part that finds no device of its own is not told of by the library."""
_PART: Final = re.compile(r"(?:lib)?ggml-(?P<part>[a-z]+)(?:[-.]|$)")
_PROCESSOR_PARTS: Final = frozenset({"base", "cpu", "blas"})
log = get_logger(__name__)


class LibraryView(Struct, frozen=True):
    """What a library can use, as far as that is known."""

    devices: tuple[Device, ...] = ()
    backends: tuple[str, ...] = ()
    """The parts that it was built with, by the names of their registries, whether they find a device or not."""
    said: str = ""
    """Its last complaint, where it finds none."""
    problem: str = ""
    """Why its devices are not known, in a sentence."""
    installed: bool = True
    lost: tuple[str, ...] = ()
    """Why the devices of servers are missing, in sentences."""


class LlamaLibrary:
    """The llama.cpp of this installation. All methods may block, `look` for LOOK_SECONDS."""

    def __init__(self, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        """`folder` is where its shared libraries are; None for those that the bindings load."""
        self._environment = os.environ if environment is None else environment
        self._folder = folder or find_library_folder(self._environment)
        self.servers: tuple[str, ...] = ()
        """RPC servers whose devices are looked for too, as `host:port`."""

    def list_parts(self) -> frozenset[str]:
        """The parts that compute elsewhere than on the processor, by the names of their files: `cuda`, `vulkan`."""
        if self._folder is None:
            return frozenset()
        try:
            names = [path.name for path in self._folder.iterdir()]
        except OSError:
            return frozenset()
        return frozenset(found["part"] for name in names if (found := _PART.match(name))) - _PROCESSOR_PARTS

    def is_for_processors(self) -> bool:
        """Whether it has no part for accelerators, so that a look would find none."""
        if self._folder is None:
            return True
        return not self.servers and find_library(self._folder, "ggml-base") is not None and not self.list_parts()

    def fingerprint(self, cards: tuple[Device, ...]) -> str:
        """Changes when another look may find other devices. `cards` are those that the drivers tell."""
        facts = [describe_machine().fingerprint, str(self._folder), *self.servers]
        facts += [f"{name}={self._environment.get(name)}" for names in HIDING.values() for name in names]
        facts += [f"{card.address} {card.name} {card.total}" for card in cards]
        for path in sorted(self._folder.iterdir()) if self._folder is not None and self._folder.is_dir() else ():
            seen = path.stat()
            facts.append(f"{path.name} {seen.st_size} {seen.st_mtime_ns}")
        return hashlib.sha256("\n".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def look(self) -> LibraryView:
        """Ask the library in a child process."""
        if self._folder is None:
            return LibraryView(installed=False)
        if self.is_for_processors():
            return LibraryView(backends=("CPU",))
        words = [
            sys.executable,
            "-P",
            "-X",
            "utf8",
            "-m",
            "core.devices.library_child",
            str(self._folder),
            *self.servers,
        ]
        try:
            told = run_briefly(words, LOOK_SECONDS, drop_secrets(self._environment))
        except OSError as error:
            return LibraryView(problem=f"llama.cpp could not be asked for its devices: {error.strerror}.")
        if told is None:
            return LibraryView(
                problem=f"llama.cpp did not tell its devices within {LOOK_SECONDS:.0f} s, so models run on the "
                "processor: a driver hangs, or is being installed."
            )
        line = next((line for line in told.out.splitlines() if line.startswith(MARK)), "")
        try:
            look = msgspec.json.decode(line.removeprefix(MARK), type=LibraryLook)
        except msgspec.MsgspecError:
            said = find_decisive_line(told.said) or f"its process ended with {told.code}"
            return LibraryView(problem=f"llama.cpp could not tell its devices: {said}.")
        said = "" if look.devices else find_decisive_line(told.said)
        parts = (BACKEND_OF_PART[part].value for part in sorted(self.list_parts()) if part in BACKEND_OF_PART)
        return LibraryView(look.devices, tuple(dict.fromkeys((*look.backends, *parts))), said, lost=look.lost)


def find_library_folder(environment: Mapping[str, str]) -> Path | None:
    """Where the bindings look for llama.cpp; None where they are not installed. Found without importing them."""
    if named := clean_value(environment.get(LIBRARY_PATH, "")):
        return Path(named)
    found = find_spec("llama_cpp")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    return Path(places[0]) / "lib" if places else None


class KeptLook(Struct, frozen=True):
    fingerprint: str
    view: LibraryView


class LibraryLooks:
    """Looks at a library, and what was kept of them."""

    def __init__(self, library: LlamaLibrary) -> None:
        self._library = library
        self._last: KeptLook | None = None
        self._looked: float | None = None
        self.file: Path | None = None
        """Where a look is kept over restarts; None to keep it in memory alone."""

    @property
    def library(self) -> LlamaLibrary:
        return self._library

    def is_older(self, seconds: float) -> bool:
        """Whether what is known is from an earlier process, or from so long ago."""
        return self._looked is None or time.monotonic() - self._looked > seconds

    def find(self, cards: tuple[Device, ...], *, anew: bool = False) -> LibraryView:
        """What the library can use; by a look where none was kept for this library and these cards, or `anew`.

        Its `free` is as of the look. A look that failed or found no devices is kept for this process alone: the driver
        that was missing may be there at the next start, and no card tells of that.
        """
        if self._library.is_for_processors():
            return self._library.look()
        fingerprint = self._library.fingerprint(cards)
        if not anew and (self._last is None or self._last.fingerprint != fingerprint) and self.file is not None:
            self._last = load_kept(self.file, KeptLook)
        if anew or self._last is None or self._last.fingerprint != fingerprint:
            self._last = KeptLook(fingerprint, self._library.look())
            self._looked = time.monotonic()
            if self.file is not None and self._last.view.devices and not self._last.view.lost:
                keep_value(self.file, self._last)
        return self._last.view
