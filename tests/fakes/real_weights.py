"""Real weights, for tests that random ones cannot stand in for: a folder that `BENCHTOP_TEST_WEIGHTS` names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "BENCHTOP_TEST_WEIGHTS"
SMOLLM2 = "smollm2-135m-instruct-q4_1.gguf"
MINILM = "all-minilm-l6-v2"
MINILM_GGUF = "all-minilm-l6-v2-f16.gguf"
WHISPER = "ggml-whisper-base.bin"
GEMMA = "gemma-3-270m-q4_k_m.gguf"
QWEN = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"


def real_weights(name: str) -> Path:
    """The file or folder of that name; skips the test where it is not at hand."""
    folder = os.environ.get(VARIABLE, "")
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder of real weights")
    path = Path(folder) / name
    if not path.exists():
        pytest.skip(f"the folder that {VARIABLE} names holds no {name}")
    return path
