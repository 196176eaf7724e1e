"""What a model is as it lies on disk, or answers at an address."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    pass


class ArtifactFormat(Enum):
    """What a model is stored as; decides which engines accept it."""

    GGUF = "gguf"
    MLX = "mlx"
    ONNX = "onnx"
    ONNX_EMBEDDER = "onnx-embedder"
    """A graph that makes vectors of texts, where ONNX is one that decodes."""
    ONNX_GENAI = "onnx-genai"
    """Graphs with the genai_config.json that the onnxruntime-genai library reads."""
    MNN = "mnn"
    WHISPER = "ggml-whisper"
    PTE = "pte"
    MLC = "mlc"
    URL = "url"
    SCRIPT = "script"
    """The echo engine's scripted replies: no weights at all."""


class Artifact(Struct, frozen=True):
    """A model as it lies on disk (or answers at an address)."""

    name: str
    """The name users know it by; replies carry it, never the path."""
    format: ArtifactFormat
    path: Path
    size: int
    """Bytes on disk, all parts together."""
    url: str = ""
    """Where a server answers, for URL: `http://host:port/v1`, with `#model` where one was named."""
    others: tuple[Artifact, ...] = ()
    """The same model in further formats, for engines that do not take this one."""
