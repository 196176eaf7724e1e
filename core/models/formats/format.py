"""What a file format is: how files of one kind are recognised, grouped, checked and described.

A format is a class that derives from `Format` and overrides what differs, in a file of its own; its name stands in
`core.models.formats.registry`, or in an entry point of the group `benchtop.formats`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from core.contract.artifact import FormatName
from core.contract.options import LoadOptions
from core.models.catalog import Task
from core.models.formats.folder_template import read_folder_template
from core.models.formats.header import Header
from core.models.formats.listing import FileListing, Group, count_weight_bytes
from core.models.formats.source import Damaged, Files

HEAD_BYTES: Final = 48
"""Bytes of a file's beginning that tell its format."""


class Format(Protocol):
    """Cheap to import and to construct, and without state: one of each serves all threads."""

    name: FormatName
    """What engines call it."""
    label: str | None = None
    """What a narrow column calls it; None where that is its name."""
    task: Task = Task.CHAT
    """The purpose of its models, where nothing else tells it."""
    hub_tag: str | None = None
    """The Hub's tag of repositories that hold it; None where there is no such tag."""
    patterns: tuple[str, ...] = ()
    """Glob patterns of files that are a model by themselves: `*.gguf`."""
    checked_ending: str | None = None
    """The ending of the files that `check_file` can check."""

    tells_pooling: bool = False
    """A model may make vectors or scores of texts in place of what `task` says, and its header says so
    (`Header.pooling`); a header that is asked for this is quick to read."""
    sets_kv_aside: bool = False
    """Its engines set memory for the whole KV cache aside at once, and divide steps into micro-batches; elsewhere the
    KV cache takes memory as it fills."""
    divides: bool = False
    """Its engines can put the layers of one model on several devices; elsewhere a model lies in main memory."""
    takes_kv_types: bool = False
    """Its engines keep the KV cache in the type that is asked for; `explain_kv_conflict` tells what they refuse."""
    keeps_windows: bool = False
    """Its engines keep no more than the window of layers that look back a window, whatever `swa_full` says."""

    def is_file(self, head: bytes) -> bool:
        """Whether a file that begins with `head`, of up to HEAD_BYTES bytes, is of this format. Raises Damaged for a
        file of this format that cannot be right."""
        return False

    def is_folder(self, folder: Path) -> bool:
        """Whether a folder is a model of this format."""
        return False

    def check_file(self, path: Path) -> None:
        """Look at a file's beginning. Raises Damaged, OSError."""
        with path.open("rb") as file:
            if not self.is_file(file.read(HEAD_BYTES)):
                raise Damaged(f"it does not begin as a file of the format {self.name} does")

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        """The models of this format in a repository or folder. Pure: by the names and sizes of the files alone."""
        return iter(())

    def locate_model(self, folder: Path, files: Sequence[str], *, several: bool) -> Path:
        """The path that an engine loads of a Group's files below `folder`. `several`: the folder holds more models of
        this format."""
        return folder

    def find_missing(self, folder: Path, files: Sequence[str], present: Collection[str]) -> str | None:
        """A file that belongs to a Group, as its own files say, and is not among those present; None where all are."""
        return None

    def explain_kv_conflict(self, header: Header, options: LoadOptions) -> str | None:
        """A sentence about what its engines would refuse of the KV type; None where nothing conflicts."""
        return None

    def read_template(self, files: Files) -> str | None:
        """The Jinja source of the chat template that came with a model made of `files`; None where none did. Raises
        Damaged, and what reading `files` raises."""
        return read_folder_template(files)

    def read_header(self, name: str, files: Files) -> Header:
        """The facts of the model `name`, which is made of `files`. Raises Damaged, and what reading `files` raises."""
        note = "Files of this kind do not tell what memory they need; only the weights are counted."
        return Header(self.name, "unknown", name, "unknown", 0, count_weight_bytes(files.sizes), (), 0, notes=(note,))
