"""A path is completed as it is typed."""

from pathlib import Path

import pytest
from textual.app import App
from textual.widgets import Input, Static

from tests.tui.conftest import until
from tui.dialogs.ask_path import AskPath, complete_path, describe_matches, list_matches


def takes(name: str) -> bool:
    return name.endswith(".gguf")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for name in ("models", "model zoo", ".hidden"):
        (tmp_path / name).mkdir()
    for name in ("model.gguf", "notes.txt"):
        (tmp_path / name).touch()
    return f"{tmp_path}/"


def test_folders_and_files_of_models_are_offered_and_hidden_ones_where_a_dot_was_typed(folder: str) -> None:
    assert list_matches(folder, takes) == ("model zoo/", "model.gguf", "models/")
    assert list_matches(f"{folder}models", takes) == ("models/",)
    assert list_matches(f"{folder}.", takes) == (".hidden/",)
    assert list_matches(f"{folder}none/", takes) == ()
    assert list_matches(f"{folder}\0", takes) == ()


def test_what_is_typed_goes_on_as_far_as_all_names_agree(folder: str) -> None:
    assert complete_path(f"{folder}m", list_matches(f"{folder}m", takes)) == f"{folder}model"
    assert complete_path(f"{folder}models", ("models/",)) == f"{folder}models/"
    assert complete_path(f"{folder}x", ()) == f"{folder}x"


def test_the_home_folder_is_one_before_its_slash_is_typed(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", folder)
    assert list_matches("~", takes) == list_matches("~/", takes) == list_matches(folder, takes)


def test_many_names_are_told_in_a_line_and_none_drives_the_terminal() -> None:
    assert describe_matches([f"{number}/" for number in range(8)]) == "0/  1/  2/  3/  4/  5/  and 2 more"
    assert "\x1b" not in describe_matches(["\x1b[2J"])


async def test_a_whole_path_that_is_typed_takes_the_place_of_the_folder_that_stood_there(folder: str) -> None:
    app: App[None] = App()
    async with app.run_test() as pilot:
        dialog = AskPath("Add", "~/", lambda _: None, takes)
        await app.push_screen(dialog)
        field = dialog.query_one(Input)
        await pilot.press(*"/a//~b")
        assert field.value == "/a//~b"
        field.value = ""
        await pilot.press(*"~/~/c")
        assert field.value == "~/c"
        await pilot.press("ctrl+u", *"~/d")
        assert field.value == "~/d"


async def test_tab_completes_enter_hands_it_over_and_a_refusal_is_told(folder: str) -> None:
    taken: list[str] = []

    def accept(path: str) -> str | None:
        taken.append(path)
        return None if Path(path).is_dir() else "There is no such folder."

    app: App[None] = App()
    async with app.run_test() as pilot:
        dialog = AskPath("Add", folder, accept, takes)
        await app.push_screen(dialog)
        await pilot.press("m")
        await until(pilot, lambda: dialog._looked == f"{folder}m")
        await pilot.press("tab")
        await until(pilot, lambda: dialog._looked == f"{folder}model")
        await pilot.press("enter")
        assert "There is no such folder." in str(dialog.query_one(".problem", Static).content)
        await pilot.press("s")
        await until(pilot, lambda: dialog._looked == f"{folder}models")
        await pilot.press("tab", "enter")
        await pilot.pause()
        assert app.screen is not dialog
    assert taken == [f"{folder}model", f"{folder}models/"]
