"""The palettes can be read, and every theme there is can be worn."""

from __future__ import annotations

import pytest
from textual.color import Color

from tests.tui.conftest import quiet
from themes import PALETTES, Palette

READABLE = 4.5
"""WCAG 2, level AA, for text of ordinary size."""
COLOURS = [name for name in Palette.__struct_fields__ if name not in ("name", "dark")]
TEXT = ("foreground", "quiet", "primary", "secondary", "error", "warning", "success", "prefill", "decode", "cached")


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [part / 255 for part in Color.parse(colour).rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", PALETTES, ids=lambda palette: palette.name)
@pytest.mark.parametrize("name", TEXT)
def test_text_can_be_read_on_every_ground(palette: Palette, name: str) -> None:
    for ground in (palette.background, palette.surface, palette.panel):
        assert contrast(getattr(palette, name), ground) >= READABLE


def test_the_high_contrast_palette_reaches_seven_to_one() -> None:
    palette = next(palette for palette in PALETTES if palette.name == "contrast")
    for name in TEXT:
        assert contrast(getattr(palette, name), palette.background) >= 7


def test_names_are_unique_and_the_default_comes_first() -> None:
    names = [palette.name for palette in PALETTES]
    assert names[0] == "graphite"
    assert len(set(names)) == len(names) >= 5
    assert any(not palette.dark for palette in PALETTES)


@pytest.mark.parametrize("palette", PALETTES, ids=lambda palette: palette.name)
def test_colours_are_plain_hexadecimal(palette: Palette) -> None:
    for name in COLOURS:
        value = getattr(palette, name)
        assert len(value) == 7
        assert value.startswith("#")


async def test_our_themes_and_others_can_be_worn_one_after_another() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        for theme in (*(palette.name for palette in PALETTES), "ansi-light", "textual-light"):
            app.theme = theme
            await pilot.press("3", "4")
            await pilot.pause()
            assert app.theme == theme


async def test_an_unknown_theme_falls_back_to_the_default() -> None:
    app = quiet(theme="no-such-theme")
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.theme == "graphite"
