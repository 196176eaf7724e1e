"""The palettes can be read, and every theme there is can be worn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from core.errors import ConfigError
from core.settings.load import load_settings
from tests.tui.conftest import notices, quiet, until
from themes import PALETTES, Palette
from themes.palette import GROUNDS, READABLE_CONTRAST, TEXTS, compute_contrast, find_faults
from tui.app import DEFAULT_THEME, BenchtopApp
from tui.dialogs.ask import Ask
from tui.dialogs.themes import ThemeDialog
from tui.palettes import Palettes
from tui.theming import build_theme

OWN = {field: "#101010" if field in GROUNDS else "#e0e0e0" for field in Palette.__struct_fields__[2:]}
"""The colours of a theme that can be read."""


def built_in() -> list[Palette]:
    return list(Palettes(find=lambda _: ()))


def write_theme(folder: Path, called: str, /, **changed: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{called}.toml"
    values = {key: value for key, value in {"dark": True, **OWN, **changed}.items() if value is not None}
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return path


def own(folder: Path) -> Palettes:
    return Palettes(folder, lambda _: ())


@pytest.mark.parametrize("palette", built_in(), ids=lambda palette: palette.name)
def test_text_can_be_read_on_every_ground(palette: Palette) -> None:
    assert find_faults(palette) == []


def test_contrast_is_that_of_the_web_content_guidelines() -> None:
    assert compute_contrast("#ffffff", "#000000") == pytest.approx(21)
    assert compute_contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_the_high_contrast_palette_reaches_seven_to_one() -> None:
    palette = Palettes().get("contrast")
    for name in TEXTS:
        assert compute_contrast(getattr(palette, name), palette.background) >= 7


def test_every_palette_goes_by_its_name_and_the_default_comes_first() -> None:
    names = [palette.name for palette in built_in()]
    assert names == [*PALETTES]
    assert names[0] == DEFAULT_THEME
    assert any(not palette.dark for palette in built_in())


def test_a_file_in_the_config_folder_is_a_theme(tmp_path: Path) -> None:
    write_theme(tmp_path, "mine")
    found = own(tmp_path)
    assert [palette.name for palette in found] == [*PALETTES, "mine"]
    assert found.get("mine").foreground == "#e0e0e0"
    assert found.find_broken() == ()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"quiet": None}, "quiet is missing."),
        ({"quite": "#e0e0e0"}, "quite is unknown; did you mean quiet?"),
        ({"dark": "yes"}, "dark: expected true or false, got a text."),
        ({"edge": "grey"}, "edge: 'grey' is no colour; write it as #rrggbb."),
        ({"quiet": "#404040"}, "quiet: #404040 on the background #101010 has a contrast of 1.8, where text needs 4.5"),
        ({"name": "mine"}, "name is unknown; a theme goes by its file."),
    ],
    ids=["missing", "unknown", "type", "colour", "contrast", "name"],
)
def test_what_is_wrong_with_a_theme_is_told_by_file_and_key(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    path = write_theme(tmp_path, "mine", **changed)
    write_theme(tmp_path, "other")
    found = own(tmp_path)
    assert [palette.name for palette in found] == [*PALETTES, "other"]
    (problem,) = found.find_broken()
    assert str(problem).startswith(f"A setting in the theme file {path} is wrong: {said}")
    with pytest.raises(ConfigError, match="is wrong"):
        found.get("mine")


def test_a_theme_file_that_is_no_toml_or_named_as_a_built_in_one_is_told(tmp_path: Path) -> None:
    write_theme(tmp_path, "ember")
    (tmp_path / "mine.toml").write_text("dark = ")
    found = own(tmp_path)
    assert [palette.name for palette in found] == [*PALETTES]
    taken, broken = map(str, found.find_broken())
    assert "has the name of a built-in theme" in taken
    assert f"The theme file {tmp_path / 'mine.toml'} is not TOML" in broken


async def test_a_theme_of_the_users_own_can_be_set_and_is_listed(tmp_path: Path) -> None:
    write_theme(tmp_path, "mine")
    write_theme(tmp_path, "second")
    app = quiet(theme="mine", palettes=own(tmp_path))
    async with app.run_test() as pilot:
        assert app.theme == "mine"
        await until(pilot, lambda: "second" in app.available_themes)
        assert "Theme: second" in [command.title for command in app.get_system_commands(app.screen)]


async def test_a_broken_theme_of_the_settings_is_told_once_and_the_default_is_worn(tmp_path: Path) -> None:
    write_theme(tmp_path, "mine", edge="grey")
    app = quiet(theme="mine", palettes=own(tmp_path))
    async with app.run_test() as pilot:
        await until(pilot, lambda: notices(app))
        await app.workers.wait_for_complete()
        assert app.theme == DEFAULT_THEME
        assert len([notice for notice in notices(app) if "no colour" in notice]) == 1


async def test_our_themes_and_others_can_be_worn_one_after_another() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        for theme in (*PALETTES, "ansi-light", "textual-light"):
            app.theme = theme
            await pilot.press("f3", "f4")
            await pilot.pause()
            assert app.theme == theme


async def test_an_unknown_theme_falls_back_to_the_default() -> None:
    app = quiet(theme="no-such-theme")
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.theme == "graphite"


async def test_a_theme_is_worn_while_the_cursor_is_on_it_and_escape_goes_back() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press("ctrl+t", "down")
        await until(pilot, lambda: app.theme == "paper")
        await pilot.press("down")
        await until(pilot, lambda: app.theme == "contrast")
        await pilot.press("escape")
        await until(pilot, lambda: app.theme == "graphite")
        assert app.kept_settings == {}


async def test_enter_keeps_a_theme_for_the_next_start_too(echo_app: BenchtopApp) -> None:
    app = echo_app
    async with app.run_test() as pilot:
        await pilot.press("ctrl+t", "down", "enter")
        await until(pilot, lambda: app.config_file.exists())
        assert app.theme == "paper"
    assert load_settings(config_file=app.config_file, environment={}).ui.theme == "paper"


async def test_a_theme_file_that_is_changed_is_read_again_in_the_list(tmp_path: Path) -> None:
    write_theme(tmp_path, "mine")
    app = quiet(theme="mine", palettes=own(tmp_path))
    async with app.run_test() as pilot:
        await pilot.press("ctrl+t")
        await until(pilot, lambda: isinstance(app.screen, ThemeDialog))
        write_theme(tmp_path, "mine", primary="#f0f0f0")
        write_theme(tmp_path, "second")
        await pilot.press("r")
        await until(pilot, lambda: "second" in app.available_themes)
        assert app.current_theme.primary == "#f0f0f0"
        assert app.get_css_variables()["border"] == "#f0f0f0"


async def test_a_copy_of_a_theme_becomes_one_of_the_users_own(tmp_path: Path) -> None:
    app = quiet(palettes=own(tmp_path / "themes"))
    async with app.run_test() as pilot:
        await pilot.press("ctrl+t", "down", "w")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await pilot.press("enter")
        await until(pilot, lambda: "paper-own" in app.available_themes)
        assert isinstance(app.screen, ThemeDialog)
        assert app.available_themes["paper-own"].primary == app.available_themes["paper"].primary
        assert app.copy_theme("paper", "paper-own") == (
            f"{tmp_path / 'themes' / 'paper-own.toml'} is there already; call it otherwise."
        )
        assert "Textual's own" in str(app.copy_theme("nord", "mine"))
        assert str(app.copy_theme("paper", "a/b")).startswith("A theme cannot be called so: name: 'a/b' is no name")


@pytest.mark.parametrize(
    ("terminal", "wanted", "worn"),
    [("linux", "graphite", "sixteen"), ("linux", "paper", "paper"), ("xterm-256color", "graphite", "graphite")],
)
def test_a_terminal_of_sixteen_colours_gets_the_theme_made_for_them_unless_another_is_wanted(
    monkeypatch: pytest.MonkeyPatch, terminal: str, wanted: str, worn: str
) -> None:
    monkeypatch.setenv("TERM", terminal)
    for name in ("COLORTERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    app = quiet(theme=wanted)
    app.adapt_to_terminal()
    assert app.theme == worn


def test_colours_of_a_terminal_are_judged_where_they_are_read_worst() -> None:
    # Of the four, the Linux console has the darkest grey.
    assert compute_contrast("ansi_bright_black", "ansi_black") == pytest.approx(2.82, abs=0.01)
    named = Palettes().get("sixteen")
    assert find_faults(replace(named, error="ansi_red"))[0].startswith("error: ansi_red on the background ansi_black")
    assert find_faults(replace(named, error="#ff8080")) == [
        "background: either all colours are named as a terminal's, or none"
    ]


@pytest.mark.parametrize("palette", built_in(), ids=lambda palette: palette.name)
def test_what_is_under_the_cursor_can_be_read(palette: Palette) -> None:
    variables = build_theme(palette).variables
    for state in ("", "-blurred"):
        ground, text = (variables[f"block-cursor{state}-{part}"] for part in ("background", "foreground"))
        assert compute_contrast(text, ground) >= READABLE_CONTRAST
