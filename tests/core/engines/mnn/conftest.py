"""The built-in model as an MNN folder, made once."""

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from tests.fakes.weights import mnn_folder


def artifact(path: Path) -> Artifact:
    return Artifact("mine", "mnn", path, 1)


@pytest.fixture(scope="session")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only."""
    if find_spec("MNN") is None:
        pytest.skip("mnn: The package MNN is not installed.")
    return mnn_folder(tmp_path_factory.mktemp("mnn"))


@pytest.fixture
def copy(guide: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a folder of the test's own."""
    return lambda: shutil.copytree(guide, tmp_path / "copy")
