"""The Hub's cache as huggingface_hub lays it out, made by hand: blobs, and snapshots whose files are links to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

COMMIT = "1" * 40
OTHER = "2" * 40


def cached(cache: Path, repo: str, files: Mapping[str, bytes], commit: str = COMMIT, *, main: bool = True) -> Path:
    """Put files of a commit into the cache, and return the folder of its snapshot."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / commit
    for path, content in files.items():
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = snapshot / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if main:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
    return snapshot


def begun(cache: Path, repo: str, content: bytes, etag: str) -> Path:
    """A file of which only a part was downloaded."""
    path = cache / f"models--{repo.replace('/', '--')}" / "blobs" / f"{etag}.incomplete"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
