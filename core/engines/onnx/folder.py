"""What lies in the folder of an ONNX model: which graph to take, and what its JSON files say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from core.contract.artifact import Artifact
from core.engines.hf_folder import HfFolder
from core.errors import ArtifactError

SMALL_BYTES: Final = 1 << 30
"""Bytes of a full-precision graph that a processor still reads quickly for each token."""
FULL = ""
HALF = ("fp16", "bf16", "float16")
FOUR_BITS = ("q4", "int4", "bnb4", "q4f16")
EIGHT_BITS = ("q8", "quantized", "int8", "uint8")
ON_PROCESSOR: Final = ("q4", "int4", *EIGHT_BITS, FULL, "bnb4", *HALF, "q4f16")
"""Blocks of four bits keep activations in full precision, which the eight-bit graphs do not; halves are emulated."""
ON_ACCELERATOR: Final = (*HALF, "q4f16", FULL, *FOUR_BITS, *EIGHT_BITS)


class Variant(Struct, frozen=True):
    """One of the graphs in a folder."""

    path: Path
    label: str
    """What follows `model_` in the file's name; empty for `model.onnx`, which is in full precision."""
    size: int
    """Bytes, with the external data beside it."""

    @property
    def quantization(self) -> str:
        return self.label or "fp32"

    @property
    def parameters(self) -> int:
        """Told by the size where nothing is quantized; else zero, which means unknown."""
        width = 4 if self.label == FULL else 2 if self.label in HALF else 0
        return self.size // width if width else 0


class ModelFolder(HfFolder):
    """With the graphs that lie in it, or the one that was asked for."""

    def __init__(self, artifact: Artifact) -> None:
        path = artifact.path
        self._asked = path if path.suffix == ".onnx" else None
        super().__init__(artifact.name, path if self._asked is None else _root_of(path))

    def variant(self, *, accelerated: bool) -> tuple[Variant, tuple[str, ...]]:
        """The graph to take, and the labels of the others."""
        found = self._variants()
        chosen = choose_variant(found, accelerated=accelerated) if self._asked is None else _read_variant(self._asked)
        return chosen, tuple(sorted(each.quantization for each in found if each.path != chosen.path))

    def _variants(self) -> list[Variant]:
        folders = (self.root / "onnx", self.root)
        found = [
            _read_variant(path) for folder in folders if folder.is_dir() for path in sorted(folder.glob("model*.onnx"))
        ]
        if not found:
            others = sorted(path.name for folder in folders for path in folder.glob("*.onnx"))
            said = f"only {', '.join(others[:4])}" if others else "no graph at all"
            raise ArtifactError(self.name, f"{self.name} has no onnx/model*.onnx but {said}; export it again.")
        return found


def choose_variant(variants: Iterable[Variant], *, accelerated: bool) -> Variant:
    """Pure choice among at least one: full precision while it is small, else what is read fastest where it runs."""
    found = list(variants)
    if not accelerated:
        small = [each for each in found if each.label == FULL and each.size <= SMALL_BYTES]
        if small:
            return small[0]
    order = ON_ACCELERATOR if accelerated else ON_PROCESSOR
    return min(found, key=lambda each: order.index(each.label) if each.label in order else len(order))


def _read_variant(path: Path) -> Variant:
    try:
        parts = [path, *path.parent.glob(f"{path.name}_data*"), *path.parent.glob(f"{path.name}.data*")]
        size = sum(part.stat().st_size for part in parts)
    except OSError as error:
        raise ArtifactError(path.name, f"The file {path} cannot be read: {error.strerror}.") from error
    return Variant(path, path.stem.removeprefix("model").removeprefix("_"), size)


def _root_of(path: Path) -> Path:
    return path.parent.parent if path.parent.name == "onnx" else path.parent
