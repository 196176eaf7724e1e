"""The folder of one run: copies, links and changes, and nothing of the user's is touched."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from core.errors import UsageError
from tui.launch.folder import apply_overlay, build_environment, fill_folder, merge_patch
from tui.launch.program import LaunchSetup, Mirror, Overlay
from tui.launch.run_folder import make_folder


def test_the_folder_is_gone_afterwards_and_what_links_led_to_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "git").mkdir(parents=True)
    (home / "git" / "config").write_text("[user]")
    with make_folder("llm", tmp_path / "cache") as made:
        folder = made.path
        fill_folder(folder, LaunchSetup({}, files={"a/b": "c"}, mirrors={"config": Mirror(home, "opencode")}))
        assert (folder / "a" / "b").read_text() == "c"
        assert (folder / "config" / "git" / "config").read_text() == "[user]"
    assert not folder.exists()
    assert (home / "git" / "config").read_text() == "[user]"


def test_the_entry_that_the_program_gets_anew_is_no_link(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "opencode").mkdir(parents=True)
    fill_folder(tmp_path / "folder", LaunchSetup({}, mirrors={"": Mirror(home, "opencode")}))
    assert not (tmp_path / "folder" / "opencode").exists()


def test_copies_leave_out_what_can_be_made_again(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "node_modules").mkdir(parents=True)
    (own / "settings.json").write_text("{}")
    fill_folder(tmp_path / "folder", LaunchSetup({}, copies={"theirs": own, "missing": tmp_path / "nowhere"}))
    assert [each.name for each in (tmp_path / "folder" / "theirs").iterdir()] == ["settings.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_copies_can_be_written_where_the_users_own_cannot(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "hooks").mkdir(parents=True)
    (own / "notes").write_text("theirs")
    (own / "hooks" / "run").write_text("#!/bin/sh")
    modes = {own / "notes": 0o444, own / "hooks" / "run": 0o555, own / "hooks": 0o555, own: 0o555}
    for path, mode in modes.items():
        path.chmod(mode)
    with make_folder("opencode", tmp_path / "cache") as made:
        folder = made.path
        fill_folder(folder, LaunchSetup({}, files={"config/notes": "ours"}, copies={"config": own}))
        copied = folder / "config"
        assert (copied / "notes").read_text() == "ours"
        places = (copied, copied / "notes", copied / "hooks", copied / "hooks" / "run")
        assert [place.stat().st_mode & 0o777 for place in places] == [0o700, 0o600, 0o700, 0o700]
    assert not folder.exists()
    assert {path: path.stat().st_mode & 0o777 for path in modes} == modes


def test_a_folder_in_which_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="cannot be filled: "):
        fill_folder(tmp_path, LaunchSetup({}, files={"taken/a": "b"}))


def test_a_file_of_the_users_that_is_no_json_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(UsageError, match="broken.json cannot be read as JSON"):
        apply_overlay(Overlay(broken, {}))
    broken.write_text("[]")
    with pytest.raises(UsageError, match="is no JSON object"):
        apply_overlay(Overlay(broken, {}))


def test_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    assert json.loads(apply_overlay(Overlay(tmp_path / "none", {"a": 1, "b": None}))) == {"a": 1}


def test_a_merge_patch_takes_out_what_is_none_at_any_depth() -> None:
    assert merge_patch({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}}) == {"a": {"c": 2, "e": 4}, "d": 3}


def test_a_proxy_of_the_users_is_not_asked_for_this_machine() -> None:
    setup = LaunchSetup({"A": "1"}, removed=("B",))
    assert build_environment(setup, {"B": "2", "HTTPS_PROXY": "http://elsewhere"}) == {
        "A": "1",
        "HTTPS_PROXY": "http://elsewhere",
        "NO_PROXY": "127.0.0.1,localhost,::1",
        "no_proxy": "127.0.0.1,localhost,::1",
    }
    assert build_environment(setup, {"NO_PROXY": "mine", "C": "3"})["NO_PROXY"] == "mine,127.0.0.1,localhost,::1"
    assert "NO_PROXY" not in build_environment(setup, {"C": "3"})
