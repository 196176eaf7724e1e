"""Finds the format of a file or folder by its content, and a fingerprint that tells it from others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from core.contract.artifact import SCRIPT, Artifact, FormatName
from core.models.formats.format import HEAD_BYTES
from core.models.formats.registry import load_formats
from core.models.formats.source import Damaged

LFS_POINTER: Final = b"version https://git-lfs.github.com"
SAMPLE_BYTES: Final = 1 << 20
"""Bytes read from either end for a fingerprint."""


def detect_format(path: Path) -> FormatName:
    """The format of a model file. Raises Damaged, or OSError when it cannot be read."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise Damaged("it is empty")
    if head.startswith(LFS_POINTER):
        raise Damaged("it is a Git LFS pointer in place of the file itself")
    return load_formats().of_file(head).name


def detect_folder(path: Path) -> FormatName:
    """The format of a model that is a folder of files, as repositories hold them. Raises Damaged."""
    return load_formats().of_folder(path).name


def find_newest_write(path: Path) -> int:
    """When a model's files were written last, in nanoseconds: their fingerprint reads their two ends alone. Zero for a
    model without files."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


def fingerprint_model(path: Path) -> str:
    """A digest of a model's file names and sizes and of the first and last MiB of each file."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for each in files:
        size = each.stat().st_size
        name = each.relative_to(path).as_posix() if each != path else ""
        digest.update(os.fsencode(f"{name}\0{size}\0"))
        with each.open("rb") as file:
            digest.update(file.read(SAMPLE_BYTES))
            file.seek(max(0, size - SAMPLE_BYTES))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:24]


def mark_artifact(artifact: Artifact) -> str:
    """The fingerprint of a model's files; its name for one that has none."""
    return artifact.name if artifact.format == SCRIPT else fingerprint_model(artifact.path)
