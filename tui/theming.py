"""Palettes as Textual themes, and our own colours for themes that have none of them."""

from __future__ import annotations

from textual.theme import BUILTIN_THEMES, Theme

from themes import Palette
from themes.ansi import ANSI_COLOURS
from themes.palette import choose_readable


def build_theme(palette: Palette) -> Theme:
    """The palette as a Textual theme; domain colours become CSS variables such as `$gauge-ok`."""
    native = palette.background in ANSI_COLOURS
    return Theme(
        name=palette.name,
        dark=palette.dark,
        primary=palette.primary,
        secondary=palette.secondary,
        accent=palette.primary,
        success=palette.success,
        warning=palette.warning,
        error=palette.error,
        foreground=palette.foreground,
        background=palette.background,
        surface=palette.surface,
        panel=palette.panel,
        variables={**(_native(palette) if native else {}), **_domain(palette), **_toolkit(palette)},
        ansi=native,
    )


def build_fallback(theme: Theme) -> dict[str, str]:
    """Domain colours for a theme without any, made of the colours it has."""
    ok = theme.success or theme.primary
    warn = theme.warning or theme.primary
    full = theme.error or warn
    quiet = "ansi_bright_black" if theme.ansi else _mixed(theme)
    return {
        "quiet": quiet,
        "edge": "ansi_bright_black" if theme.ansi else quiet,
        "gauge-ok": ok,
        "gauge-warn": warn,
        "gauge-full": full,
        "queued": quiet,
        "prefill": theme.secondary or theme.primary,
        "decode": ok,
        "cached": theme.accent or theme.primary,
        "user": theme.accent or theme.primary,
        "bar": "ansi_default" if theme.ansi else (theme.panel or theme.surface or theme.background or "black"),
    }


def _mixed(theme: Theme) -> str:
    """A colour half way from background to foreground: readable, and clearly second."""
    from textual.color import Color

    colours = theme.to_color_system().generate()
    return Color.parse(colours["background"]).blend(Color.parse(colours["foreground"]), 0.6).hex


def _native(palette: Palette) -> dict[str, str]:
    """What Textual asks of themes that a terminal's own colours are used by."""
    return {
        **BUILTIN_THEMES["ansi-dark"].variables,
        "ansi-background": palette.background,
        "ansi-foreground": palette.foreground,
    }


def _domain(palette: Palette) -> dict[str, str]:
    return {
        "quiet": palette.quiet,
        "edge": palette.edge,
        "gauge-ok": palette.gauge_ok,
        "gauge-warn": palette.gauge_warn,
        "gauge-full": palette.gauge_full,
        "queued": palette.queued,
        "prefill": palette.prefill,
        "decode": palette.decode,
        "cached": palette.cached,
        "user": palette.user,
        "bar": palette.panel,
    }


def _toolkit(palette: Palette) -> dict[str, str]:
    """Textual's own variables where its derived colours would be louder than ours."""
    return {
        "border": palette.primary,
        "border-blurred": palette.edge,
        "block-cursor-background": palette.primary,
        "block-cursor-foreground": palette.background,
        "block-cursor-blurred-background": palette.edge,
        "block-cursor-blurred-foreground": choose_readable(palette.edge, (palette.foreground, palette.background)),
        "footer-background": palette.panel,
        "footer-key-foreground": palette.primary,
        "footer-description-foreground": palette.quiet,
        "input-cursor-background": palette.primary,
        "input-cursor-foreground": palette.background,
        "scrollbar": palette.edge,
        "scrollbar-hover": palette.quiet,
        "scrollbar-active": palette.primary,
        "scrollbar-background": palette.background,
        "scrollbar-background-hover": palette.background,
        "scrollbar-background-active": palette.background,
        "scrollbar-corner-color": palette.background,
        "markdown-h1-color": palette.primary,
        "markdown-h1-background": "transparent",
        "markdown-h1-text-style": "bold",
        "markdown-h2-color": palette.primary,
        "markdown-h2-background": "transparent",
        "markdown-h2-text-style": "bold",
        "markdown-h3-color": palette.secondary,
        "markdown-h3-background": "transparent",
        "markdown-h3-text-style": "bold",
        "markdown-h4-color": palette.secondary,
        "markdown-h4-background": "transparent",
        "markdown-h4-text-style": "none",
        "link-color": palette.secondary,
        "link-color-hover": palette.primary,
        "link-background-hover": "transparent",
        "link-style-hover": "underline",
    }
