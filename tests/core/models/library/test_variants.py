"""The built-in model in other formats: made once, and made again where what was kept is not what was made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from core.contract.artifact import Artifact
from core.guide import WEIGHTS
from core.models.library import variants
from core.models.library.variants import Conversion, provide_variant

GUIDE = Artifact("guide", "gguf", WEIGHTS, WEIGHTS.stat().st_size)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that a conversion wrote."""
    written: list[Path] = []

    def write(folder: Path) -> Path:
        (folder / "onnx").mkdir(parents=True)
        (folder / "config.json").write_text('{"layers": 2}')
        (folder / "onnx" / "model.onnx").write_bytes(b"weights")
        written.append(folder)
        return folder

    module = ModuleType("a_conversion")
    module.write_model = write  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_conversion", module)
    monkeypatch.setattr(variants, "CONVERSIONS", {"onnx": Conversion("a_conversion", ())})
    return written


def cut_short(folder: Path) -> None:
    (folder / "onnx" / "model.onnx").write_bytes(b"weig")


def no_text(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff")


def taken_away(folder: Path) -> None:
    (folder / "config.json").unlink()


def a_folder_for_a_file(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def without_seal(folder: Path) -> None:
    (folder / variants.SEAL).unlink()


def damaged_seal(folder: Path) -> None:
    (folder / variants.SEAL).write_bytes(b"\xff")


def a_file_for_the_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.write_bytes(b"\xff")


@pytest.mark.parametrize(
    "damage",
    [cut_short, no_text, taken_away, a_folder_for_a_file, without_seal, damaged_seal, a_file_for_the_folder],
)
def test_a_variant_that_was_damaged_is_made_again(
    made: list[Path], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = provide_variant(GUIDE, "onnx", tmp_path).path
    damage(folder)
    assert provide_variant(GUIDE, "onnx", tmp_path).path == folder
    assert (folder / "config.json").read_text() == '{"layers": 2}'
    assert (folder / "onnx" / "model.onnx").read_bytes() == b"weights"
    assert len(made) == 2
    assert not list(folder.parent.glob(f".{folder.name}.*")), "nothing is left beside it"


def test_a_whole_variant_is_made_once_whatever_an_engine_put_beside_it(made: list[Path], tmp_path: Path) -> None:
    folder = provide_variant(GUIDE, "onnx", tmp_path).path
    (folder / "tuned.cache").write_bytes(b"an engine's own")
    provide_variant(GUIDE, "onnx", tmp_path)
    assert len(made) == 1
