"""The files of a repository or folder by their names and sizes, and which of them make up one model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from msgspec import Struct

from core.names import SPLIT

WEIGHTS: Final = (".safetensors", ".onnx", ".onnx_data", ".gguf", ".bin", ".pte", ".mnn", ".weight", ".data")
ROOT_FILES: Final = (".json", ".jinja", ".model", ".txt", ".tiktoken")
"""Ends of the small files beside the weights: configurations, tokenizers, templates."""
NEVER: Final = frozenset({"README.txt", "LICENSE.txt", "requirements.txt", "onnx_config.json"})


class FileListing(Struct, frozen=True):
    """All files of a repository or folder."""

    sizes: Mapping[str, int]
    """Bytes of each, by its path with forward slashes."""
    label: str = "safetensors"
    """How its safetensors are quantized, as config.json tells it, else as the repository's name does: `4bit` ..."""
    named: str = "safetensors"
    """The same as the repository's name tells it."""
    model_type: str = ""
    """`model_type` of config.json; empty where there is none."""
    head: str = ""
    """The first of its `architectures`: `BertForSequenceClassification` ..."""

    def files_beside(self) -> list[str]:
        """The small files at the top: config.json first, then tokenizers and the rest by name."""
        small = [
            path
            for path in self.sizes
            if "/" not in path and path.endswith(ROOT_FILES) and path not in NEVER and not is_talk(path)
        ]
        return sorted(small, key=lambda path: (path != "config.json", path))


class Group(Struct, frozen=True):
    """The files of one model."""

    names: tuple[str, ...]
    """The names it goes by, the shortest first. They follow from its own files alone: a name that was given where the
    whole repository was listed finds the model where only its own files were fetched."""
    files: tuple[str, ...]
    """Paths, in the order in which they should arrive: what is loaded first comes first."""


def list_names(label: str, path: str, prefix: str = "") -> tuple[str, ...]:
    """A label, the file's name and its path."""
    stem = cut_stem(path)
    return label, prefix + stem.rpartition("/")[2], prefix + stem.replace("/", "-")


def cut_stem(path: str) -> str:
    """A path without the number of a part and without its ending."""
    return str(PurePosixPath(SPLIT.sub(".gguf", path)).with_suffix(""))


def is_talk(path: str) -> bool:
    """Whether a file is for people to read, and no part of a model."""
    return path.endswith((".md", ".png", ".jpg", ".gitattributes"))


def count_weight_bytes(sizes: Mapping[str, int]) -> int:
    """Bytes of the files that hold weights, as far as their names tell; else of all."""
    return sum(size for path, size in sizes.items() if _is_weights(path)) or sum(sizes.values())


def sum_bytes(paths: Iterable[str], sizes: Mapping[str, int]) -> int:
    return sum(sizes[path] for path in paths)


def _is_weights(path: str) -> bool:
    return path.endswith(WEIGHTS) or ".onnx_data" in path
