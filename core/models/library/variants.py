"""A model in other formats, for engines that do not take the format it came in.

A model of the catalog has the formats that were downloaded. Those of the built-in model are made of its weights when an
engine that takes them runs here, and kept in the cache folder; a damaged one is made again.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact, FormatName
from core.guide import WEIGHTS
from core.kept import load_kept
from core.models.formats.detect import fingerprint_model

SEAL: Final = ".made"
"""A file beside the others of a variant: their digests as they were made."""


class Conversion(Struct, frozen=True):
    """How a variant of the built-in model is made. `module` has `write_model(folder) -> folder`."""

    module: str
    needs: tuple[str, ...]
    """Packages that making it needs."""


CONVERSIONS: Mapping[FormatName, Conversion] = {
    "mlx": Conversion("core.guide.convert.mlx", ("tokenizers", "safetensors")),
    "onnx": Conversion("core.guide.convert.onnx", ("tokenizers", "onnx")),
    "onnx-genai": Conversion("core.guide.convert.genai", ("tokenizers", "onnx", "onnxruntime_genai")),
    "mnn": Conversion("core.guide.convert.mnn", ("tokenizers", "MNN")),
}


def list_formats(artifact: Artifact) -> tuple[FormatName, ...]:
    """The formats the model can be had in here, its own first."""
    if artifact.path != WEIGHTS:
        return (artifact.format, *(other.format for other in artifact.others))
    able = [wanted for wanted, made in CONVERSIONS.items() if all(find_spec(name) for name in made.needs)]
    return (artifact.format, *able)


def provide_variant(artifact: Artifact, wanted: FormatName, cache: Path) -> Artifact:
    """The model in one of its `list_formats`; made now if it was not before. Raises OSError when it cannot be
    written."""
    for here in (artifact, *artifact.others):
        if wanted == here.format:
            return replace(here, others=())
    folder = cache / "variants" / f"{artifact.name}-{fingerprint_model(artifact.path)}-{wanted}"
    if not _is_whole(folder):
        write: Callable[[Path], Path] = import_module(CONVERSIONS[wanted].module).write_model
        _make(folder, write)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Artifact(artifact.name, wanted, folder, size)


def _make(folder: Path, write: Callable[[Path], Path]) -> None:
    """Write to a temporary folder and rename it, so that nobody ever loads half a model."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch) / "model"
        try:
            write(made)
        except OSError:
            raise
        except Exception as error:  # Each library that writes has its own error for a full disk.
            raise OSError(str(error).rstrip(".") or type(error).__name__) from error
        (made / SEAL).write_bytes(msgspec.json.encode(_digests(made)))
        if folder.exists() and not _is_whole(folder):
            folder.rename(Path(scratch) / "damaged")
        try:
            made.rename(folder)
        except OSError:
            # Another process was quicker; what it made is the same.
            if not folder.is_dir():
                raise
            shutil.rmtree(made, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Whether all files are as they were made; an engine may have put files of its own beside them."""
    made = load_kept(folder / SEAL, dict[str, str])
    if not made:
        return False
    try:
        return all(_digest(folder / name) == digest for name, digest in made.items())
    except OSError:
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): _digest(file) for file in folder.rglob("*") if file.is_file()}


def _digest(file: Path) -> str:
    with file.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
