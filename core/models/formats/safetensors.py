"""Folders of safetensors with a config.json, as transformers writes them and MLX loads them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from core.contract.options import LoadOptions
from core.models.formats.format import Format
from core.models.formats.header import Header
from core.models.formats.hf_header import read_folder_header
from core.models.formats.kv_conflict import explain_single_type
from core.models.formats.listing import FileListing, Group
from core.models.formats.safetensors_table import read_safetensors
from core.models.formats.source import Files, FileSource
from core.text_files import drop_mark

INDEX: Final = "model.safetensors.index.json"
"""Names the files that a model is split into."""


class _Index(Struct):
    weight_map: dict[str, str]


class MlxFormat(Format):
    """The whole folder is one model."""

    name = "mlx"
    hub_tag = "safetensors"
    checked_ending = ".safetensors"
    takes_kv_types = True
    keeps_windows = True

    def is_folder(self, folder: Path) -> bool:
        return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))

    def check_file(self, path: Path) -> None:
        read_safetensors(FileSource(path))

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        """Files that hold the same weights once more are left out."""
        weights = [path for path in listing.sizes if "/" not in path and path.endswith(".safetensors")]
        model = [path for path in weights if path.startswith("model")] or weights
        if model and "config.json" in listing.sizes:
            yield Group((listing.label, "safetensors", listing.named), (*listing.files_beside(), *model))

    def find_missing(self, folder: Path, files: Sequence[str], present: Collection[str]) -> str | None:
        if INDEX not in files:
            return None
        try:
            index = msgspec.json.decode(drop_mark((folder / INDEX).read_bytes()), type=_Index)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return INDEX
        return next((shard for shard in sorted(set(index.weight_map.values())) if shard not in present), None)

    def explain_kv_conflict(self, header: Header, options: LoadOptions) -> str | None:
        return explain_single_type(options)

    def read_header(self, name: str, files: Files) -> Header:
        return read_folder_header(self.name, name, files)
