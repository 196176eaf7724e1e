"""The formats by name."""

from __future__ import annotations

from typing import Final

FORMATS: Final = (*("gguf", "mlx", "onnx", "onnx-embedder", "onnx-genai", "mnn", "ggml-whisper", "pte", "mlc"),)
"""In the order of preference where no other is given."""
