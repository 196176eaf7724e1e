"""A repository of the Hub as the rest of the workbench sees it: its files, and the models one may take of them."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from core.contract.artifact import FormatName


class RepoFile(Struct, frozen=True):
    """A file of a repository."""

    path: str
    """Inside the repository, with forward slashes; checked: relative, and without `..`."""
    size: int
    """Bytes."""
    sha256: str | None = None
    """Of the content, in hexadecimal, where the Hub tells it (large files)."""


class Quant(Struct, frozen=True):
    """The files that make up one model: all parts of a split file, or a whole folder of one format."""

    repo: str
    """`owner/name`."""
    revision: str
    """The commit."""
    label: str
    """As users write it behind the colon: `Q4_K_M`, `4bit`, `fp16`, `onnx-q4` ..."""
    format: FormatName
    files: tuple[RepoFile, ...]
    """In the order in which to download them: files that are read first come first."""
    also: tuple[str, ...] = ()
    """Further names. A label depends on which other models are listed; these names do not."""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def name(self) -> str:
        """`owner/name:label`, which names it everywhere."""
        return f"{self.repo}:{self.label}"


class Repository(Struct, frozen=True):
    """One repository, listed."""

    id: str
    """`owner/name`."""
    revision: str
    files: tuple[RepoFile, ...]
    quants: tuple[Quant, ...]
    """Smallest first; empty where nothing here can be run."""
    projectors: tuple[RepoFile, ...] = ()
    """The `mmproj` files, which let a GGUF of this repository see or hear; no model by themselves."""
    heads: tuple[RepoFile, ...] = ()
    """Files that draft for a GGUF of this repository (MTP, EAGLE ...); no model by themselves either."""
    gated: bool = False
    """Its owner wants to be asked before the files are given out."""
    private: bool = False
    task: str | None = None
    """The Hub's `pipeline_tag`."""
    licence: str | None = None
    downloads: int = 0
    likes: int = 0
    updated: datetime | None = None
