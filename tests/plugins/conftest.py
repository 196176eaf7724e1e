"""The plugins, each built and installed once."""

from pathlib import Path

import pytest

from tests.plugins.packages import install


@pytest.fixture(scope="session")
def example_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install("example", tmp_path_factory.mktemp("example"))


@pytest.fixture(scope="session")
def mlc_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install("mlc", tmp_path_factory.mktemp("mlc"))
