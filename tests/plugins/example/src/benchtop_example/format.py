"""Files of word pairs: a line `PAIRS 1`, then a line for each pair: a word, the word after it, and how often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from core.models.formats.format import Format
from core.models.formats.header import Header
from core.models.formats.listing import FileListing, Group, list_names
from core.models.formats.source import ByteSource, Damaged, Files, FileSource

MAGIC: Final = b"PAIRS 1\n"
LARGEST: Final = 64 << 20
"""Bytes of a file."""

Pairs = Mapping[str, Mapping[str, int]]
"""By a word, how often each other word came after it."""


class PairsFormat(Format):
    """Each file is a model."""

    name = "pairs"
    patterns = ("*.pairs",)
    checked_ending = ".pairs"

    def is_file(self, head: bytes) -> bool:
        return head.startswith(MAGIC)

    def check_file(self, path: Path) -> None:
        read_pairs(FileSource(path))

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        for path in listing.sizes:
            if path.endswith(".pairs"):
                yield Group(list_names("pairs", path), (path,))

    def locate_model(self, folder: Path, files: Sequence[str], *, several: bool) -> Path:
        return folder / files[0]

    def read_header(self, name: str, files: Files) -> Header:
        path, size = next(iter(files.sizes.items()))
        pairs = read_pairs(files.open(path))
        return Header(
            format=self.name,
            architecture="word pairs",
            name=name,
            quantization="none",
            parameters=sum(map(len, pairs.values())),
            weight_bytes=size,
            layers=(),
            trained_context=1,
            vocabulary=len(pairs),
        )


def read_pairs(source: ByteSource) -> Pairs:
    """Raises Damaged, and what `source.read` raises."""
    if source.size > LARGEST:
        raise Damaged(f"it has {source.size} bytes")
    data = source.read(0, source.size)
    if not data.startswith(MAGIC):
        raise Damaged("it does not begin as a file of word pairs does")
    pairs: dict[str, dict[str, int]] = defaultdict(dict)
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines()[1:], 2):
        words = line.split()
        if len(words) != 3 or not words[2].isdecimal():
            raise Damaged(f"its line {number} is no pair of words with a count")
        pairs[words[0]][words[1]] = int(words[2])
    if not pairs:
        raise Damaged("it holds no pairs")
    return dict(pairs)
