"""A card: whatever llama.cpp's Vulkan finds here, which may be Mesa's on the processor (llvmpipe).

It needs a build of llama.cpp with Vulkan, of the version that the bindings were made for, in a folder that
`BENCHTOP_TEST_VULKAN` names: `cmake -DGGML_VULKAN=ON -DBUILD_SHARED_LIBS=ON`, its `bin`. llama.cpp leaves out devices
that are processors unless `GGML_VK_VISIBLE_DEVICES=0` names them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from core.devices.device import Backend, Device
from core.devices.library import LlamaLibrary

VARIABLE: Final = "BENCHTOP_TEST_VULKAN"


def find_vulkan_device() -> tuple[Path, Device]:
    """The folder of the library, and the first device that it tells of. Skips the test where there is none."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with llama.cpp's libraries, built with Vulkan")
    view = LlamaLibrary(Path(folder)).look()
    device = next((each for each in view.devices if each.backend is Backend.VULKAN), None)
    if device is None:
        pytest.skip(f"llama.cpp's Vulkan finds no device here: {view.said or view.problem}")
    return Path(folder), device
