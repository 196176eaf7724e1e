"""What a file is, told by its content and not by its name."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from core.engines.base import ArtifactFormat

GGUF_MAGIC = b"GGUF"
GGUF_VERSIONS = (2, 3)
SAMPLE = 1 << 20
"""Bytes read from either end for a fingerprint."""


class Damaged(Exception):
    """The file is not what it should be; the message says what is wrong, as the end of a sentence."""


def detect(path: Path) -> ArtifactFormat:
    """The format of a model file. Raises Damaged, or OSError when it cannot be read."""
    with path.open("rb") as file:
        head = file.read(24)
    if not head:
        raise Damaged("it is empty")
    if head[:4] != GGUF_MAGIC:
        raise Damaged("it does not begin as a GGUF file does")
    if len(head) < 24:
        raise Damaged("it ends within its header")
    (version,) = struct.unpack_from("<I", head, 4)
    if version not in GGUF_VERSIONS:
        raise Damaged(f"its GGUF version {version} is unknown (versions {GGUF_VERSIONS[0]} and {GGUF_VERSIONS[1]} are)")
    return ArtifactFormat.GGUF


def fingerprint(path: Path) -> str:
    """Tells one model file from another without reading all of it: size, first and last MiB."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(SAMPLE))
        file.seek(max(0, size - SAMPLE))
        digest.update(file.read(SAMPLE))
    return digest.hexdigest()[:24]
