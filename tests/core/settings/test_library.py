"""The user's config file is changed, and stays the user's."""

from pathlib import Path

import pytest

from core.errors import ConfigError
from core.settings.library import add_library_path, extend_library, shorten_home
from core.settings.load import load_settings
from core.settings.schema import LibrarySettings

WRITTEN = """# My settings.
[server]
port = 8123   # the router knows it

[library]
# On the big disk.
folders = [
    "/data/models",  # shared
]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "config.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "more models"
    made.mkdir()
    return made


def test_a_folder_is_added_and_every_comment_stays(file: Path, folder: Path) -> None:
    file.parent.mkdir()
    file.write_text(WRITTEN)
    assert add_library_path(file, folder)
    text = file.read_text()
    for line in (
        "# My settings.",
        "port = 8123   # the router knows it",
        "# On the big disk.",
        '"/data/models",  # shared',
    ):
        assert line in text
    assert load_settings(config_file=file).library.folders == ("/data/models", str(folder))
    assert not add_library_path(file, folder)
    assert file.read_text() == text


def test_a_file_is_named_as_one_and_the_config_file_is_made_where_there_is_none(file: Path, folder: Path) -> None:
    model = folder / "a.gguf"
    model.touch()
    assert add_library_path(file, model)
    assert add_library_path(file, folder)
    library = load_settings(config_file=file).library
    assert (library.files, library.folders) == ((str(model),), (str(folder),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("library = 3", "library"),
        ("[library]\nfolders = 'x'", "library.folders"),
        ("[library", "is not TOML"),
    ],
)
def test_what_cannot_be_added_to_is_left_alone_and_told(text: str, said: str, file: Path, folder: Path) -> None:
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        add_library_path(file, folder)
    assert file.read_text() == text


def test_a_link_to_the_config_file_stays_a_link(file: Path, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "dotfiles.toml"
    elsewhere.write_text("")
    file.parent.mkdir()
    file.symlink_to(elsewhere)
    assert add_library_path(file, folder)
    assert file.is_symlink()
    assert "more models" in elsewhere.read_text()


def test_what_runs_goes_on_with_what_was_written(file: Path, folder: Path) -> None:
    library = extend_library(LibrarySettings(), folder)
    add_library_path(file, folder)
    assert library == load_settings(config_file=file).library == extend_library(library, folder)


def test_the_home_folder_is_written_as_people_write_it() -> None:
    assert shorten_home(Path.home() / "models") == "~/models"
    assert shorten_home(Path("/data")) == "/data"
