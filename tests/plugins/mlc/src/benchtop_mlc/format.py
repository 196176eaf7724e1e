"""Folders of weights that were compiled for mlc-llm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from core.models.formats.format import Format
from core.models.formats.listing import FileListing, Group

CONFIG: Final = "mlc-chat-config.json"
WEIGHTS: Final = ("ndarray-cache.json", "tensor-cache.json")
"""The index of a model's weights, as it was called and as it is."""


class MlcFormat(Format):
    """The whole folder is one model."""

    name = "mlc"

    def is_folder(self, folder: Path) -> bool:
        return (folder / CONFIG).is_file() and any((folder / name).is_file() for name in WEIGHTS)

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        if CONFIG in listing.sizes and any(name in listing.sizes for name in WEIGHTS):
            shards = [path for path in listing.sizes if "/" not in path and path.endswith(".bin")]
            yield Group(("mlc",), (*listing.files_beside(), *shards))
