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


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('{"mine": {"temperature": 999}}', "mine: temperature is 999"),
        ('{"mine": {"temprature": 1}}', "mine.temprature is unknown; did you mean temperature"),
        ('{"mine": {"top_k": "many"}}', "mine.top_k: expected a whole number"),
        ('{"mine": 3}', "mine: expected an object"),
        ('{"mine": {', "damaged"),
        ("[]", "damaged"),
    ],
)
def test_a_file_that_somebody_got_wrong_is_told_and_never_written_over(
    tmp_path: Path, written: str, words: str
) -> None:
    path = tmp_path / "presets.json"
    path.write_text(written)
    shelf = PresetShelf(path)
    with pytest.raises(PresetError, match=words):
        shelf.load()
    with pytest.raises(PresetError, match=words):
        shelf.save("cold", COLD)
    assert path.read_text() == written
