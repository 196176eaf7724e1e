"""The formats by name, and a plugin's among them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.contract.artifact import NO_FILES
from core.engines.registry import Engines
from core.models.formats.format import Format
from core.models.formats.listing import FileListing, Group
from core.models.formats.registry import FORMATS, GROUP, Formats
from core.models.formats.source import Damaged
from core.plugins import Plugin


class Slate(Format):
    name = "slate"

    def is_file(self, head: bytes) -> bool:
        return head.startswith(b"SLATE")

    def is_folder(self, folder: Path) -> bool:
        return (folder / "slate.json").is_file()

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        yield from (Group(("slate",), (path,)) for path in listing.sizes if path.endswith(".slate"))


class Failing(Slate):
    name = "failing"

    def is_folder(self, folder: Path) -> bool:
        raise ZeroDivisionError("oh")


class Greedy(Format):
    name = "greedy"

    def group_files(self, listing: FileListing) -> Iterator[Group]:
        yield Group(("greedy",), ("no-such-file",))


class NoFormat:
    name = "nothing"


def formats(*classes: type) -> Formats:
    found = [Plugin(GROUP, each.name, f"{__name__}:{each.__name__}", "quarry 1.0") for each in classes]  # type: ignore[attr-defined]
    return Formats(lambda _: found)


def test_every_built_in_format_goes_by_its_name() -> None:
    assert [each.name for each in formats()] == [*FORMATS]


def test_engines_name_formats_that_there_are() -> None:
    named = {name for engine in Engines() for name in engine.formats}
    assert named - NO_FILES == set(FORMATS)


def test_a_plugins_format_is_told_by_file_and_folder_and_groups_its_files(tmp_path: Path) -> None:
    found = formats(Slate)
    (tmp_path / "slate.json").touch()
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors").touch()
    assert found.of_file(b"SLATE and more").name == "slate"
    # Whoever asks for more than a configuration and weights goes first.
    assert found.of_folder(tmp_path).name == "slate"
    groups = found.group_files(FileListing({"a.slate": 1, "b-Q4_0.gguf": 2}))
    assert [(each.name, group.files) for each, group in groups] == [("gguf", ("b-Q4_0.gguf",)), ("slate", ("a.slate",))]


@pytest.mark.parametrize("broken", [Failing, Greedy, NoFormat])
def test_a_plugin_that_fails_is_left_out_and_the_others_answer(tmp_path: Path, broken: type) -> None:
    found = formats(Slate, broken)
    (tmp_path / "slate.json").touch()
    assert found.of_folder(tmp_path).name == "slate"
    assert [each.name for each, _ in found.group_files(FileListing({"a.slate": 1}))][-1] == "slate"
    assert [error.plugin.name for error in found.find_broken()] == [broken.name]  # type: ignore[attr-defined]
    assert found.get(broken.name) is None  # type: ignore[attr-defined]


def test_a_format_that_nobody_knows_is_none() -> None:
    assert formats().get("slate") is None


def test_what_is_of_no_format_is_damaged() -> None:
    with pytest.raises(Damaged, match="GGUF"):
        formats().of_file(b"SLATE")
