"""Presets: kept by name, seen by the next program, never at the cost of what somebody wrote by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.conversations.presets import BUILT_IN_PRESETS, PresetError, PresetShelf
from core.conversations.settings import ChatSettings

COLD = ChatSettings("be brief", temperature=0.1, stop=("END",))


def test_a_preset_is_kept_renamed_and_deleted(tmp_path: Path) -> None:
    shelf = PresetShelf(tmp_path / "config" / "presets.json")
    assert shelf.save("  my   own ", COLD) == "my own"
    again = PresetShelf(tmp_path / "config" / "presets.json")
    assert again.list_all() == {**BUILT_IN_PRESETS, "my own": COLD}
    again.rename("my own", "cold")
    assert shelf.load() == {"cold": COLD}
    shelf.delete("cold")
    assert again.load() == {}


def test_names_that_will_not_do_are_told(tmp_path: Path) -> None:
    shelf = PresetShelf(tmp_path / "presets.json")
    shelf.save("mine", COLD)
    shelf.save("other", COLD)
    for attempt, words in (
        (lambda: shelf.save("precise", COLD), "built in"),
        (lambda: shelf.save(" ", COLD), "needs a name"),
        (lambda: shelf.save("a\x1b[2J", COLD), "cannot be seen"),
        (lambda: shelf.rename("mine", "other"), "already"),
        (lambda: shelf.rename("gone", "new"), "any more"),
        (lambda: shelf.delete("precise"), "stays as it is"),
    ):
        with pytest.raises(PresetError, match=words):
            attempt()
    assert sorted(shelf.load()) == ["mine", "other"]


def test_a_damaged_file_is_told_and_set_aside_before_it_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "presets.json"
    path.write_text('{"mine": {"temperature": 999}}')
    shelf = PresetShelf(path)
    with pytest.raises(PresetError, match="temperature is 999"):
        shelf.load()
    shelf.save("cold", COLD)
    assert shelf.load() == {"cold": COLD}
    (aside,) = tmp_path.glob("presets.json.damaged-*")
    assert "999" in aside.read_text()
