"""Executorch programs: files of their own, or in a folder beside a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from core.models.formats.format import Format
from core.models.formats.listing import FileListing, Group, list_names

MAGIC: Final = b"ET"
"""At byte 4, with two digits behind it: the flatbuffer identifier of a program."""


class PteFormat(Format):
    """Each program of a folder is a model."""

    name = "pte"
    patterns = ("*.pte",)
    checked_ending = ".pte"

    def is_file(self, head: bytes) -> bool:
        return head[4:6] == MAGIC and head[6:8].isdigit()

    def is_folder(self, folder: Path) -> bool:
        return any(folder.glob("*.pte"))

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        for path in listing.sizes:
            if not path.endswith(".pte"):
                continue
            _, name, whole = list_names("", path, "pte-")
            data = [each for each in listing.sizes if each == f"{path.removesuffix('.pte')}.ptd"]
            names = ("pte", name, whole) if name == "pte-model" else (name, whole, "pte")
            yield Group(names, (*listing.files_beside(), path, *data))

    def locate_model(self, folder: Path, files: Sequence[str], *, several: bool) -> Path:
        return folder / next(path for path in files if path.endswith(".pte")) if several else folder
