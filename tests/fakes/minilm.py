"""all-MiniLM-L6-v2 with a graph of its real weights, which is written once a test run: that takes seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest

from tests.fakes.bert import BertGraph, read_safetensors
from tests.fakes.real_weights import MINILM, real_weights

HEADS = 12


def minilm_folder(factory: pytest.TempPathFactory) -> Path:
    """Skips the test where the weights are not at hand."""
    source, folder = real_weights(MINILM), factory.getbasetemp() / "all-MiniLM-L6-v2"
    if not folder.exists():
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
        (folder / "onnx").mkdir()
        graph = BertGraph(read_safetensors(source / "model.safetensors"), heads=HEADS).build()
        onnx.save(graph, folder / "onnx" / "model.onnx")
    return folder
