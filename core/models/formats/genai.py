"""Folders with the genai_config.json that the onnxruntime-genai library reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from core.models.formats.format import Format
from core.models.formats.header import Header
from core.models.formats.listing import FileListing, Group, is_talk
from core.models.formats.onnx import read_graph_header
from core.models.formats.source import Files

CONFIG: Final = "genai_config.json"


class GenaiFormat(Format):
    """Each folder with a genai_config.json is a model."""

    name = "onnx-genai"
    label = "genai"
    hub_tag = "onnx"

    def is_folder(self, folder: Path) -> bool:
        return (folder / CONFIG).is_file() and not any(folder.glob("onnx/*.onnx"))

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        """Its label is the last folder's name."""
        for path in listing.sizes:
            folder, _, name = path.rpartition("/")
            if name == CONFIG:
                members = [each for each in listing.sizes if each.rpartition("/")[0] == folder and each != path]
                parts = folder.split("/") if folder else []
                called = "-".join(("genai", *parts[-1:])), "-".join(("genai", *parts))
                yield Group(called, (path, *(each for each in members if not is_talk(each))))

    def locate_model(self, folder: Path, files: Sequence[str], *, several: bool) -> Path:
        return (folder / files[0]).parent

    def read_header(self, name: str, files: Files) -> Header:
        return read_graph_header(self, name, files)
