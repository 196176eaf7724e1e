"""Folders with an llm_config.json and MNN graphs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from core.models.formats.format import Format
from core.models.formats.listing import FileListing, Group


class MnnFormat(Format):
    """The whole folder is one model."""

    name = "mnn"

    def is_folder(self, folder: Path) -> bool:
        return (folder / "llm_config.json").is_file() and any(folder.glob("*.mnn"))

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        top = [path for path in listing.sizes if "/" not in path]
        graphs = [path for path in top if path.endswith((".mnn", ".mnn.weight"))]
        if any(path.endswith(".mnn") for path in graphs):
            others = [path for path in top if path.endswith((".bin", ".mtok"))]
            yield Group(("mnn",), (*listing.files_beside(), *others, *graphs))

    def find_missing(self, folder: Path, files: Sequence[str], present: Collection[str]) -> str | None:
        return None if any(path.endswith(".mnn.weight") for path in files) else "llm.mnn.weight"
