"""The built-in model as an ONNX folder, written once."""

import shutil
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.engines.onnx.engine import OnnxEngine
from core.engines.onnx.model import OnnxModel
from tests.fakes.weights import onnx_folder

OPTIONS = LoadOptions(ctx_size=256, slots=4, batch=64, threads=1)


def load(path: Path, options: LoadOptions = OPTIONS) -> OnnxModel:
    model = OnnxEngine().load(Artifact("guide", "onnx", path, 0), options)
    assert isinstance(model, OnnxModel)
    return model


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_folder(tmp_path_factory.mktemp("onnx"))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    copy = tmp_path / "guide"
    shutil.copytree(written, copy)
    return copy


@pytest.fixture(scope="module")
def model(written: Path) -> OnnxModel:
    return load(written)
