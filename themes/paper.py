"""Ink on warm paper, for bright rooms."""

from themes.palette import Palette

PALETTE = Palette(
    name="paper",
    dark=False,
    background="#f7f4ed",
    surface="#fbf9f5",
    panel="#ebe6da",
    foreground="#2b2a27",
    quiet="#676257",
    edge="#c9c0ae",
    primary="#a6431c",
    secondary="#2f6674",
    success="#44701c",
    warning="#8a5e00",
    error="#b3262e",
    gauge_ok="#4a7024",
    gauge_warn="#895e00",
    gauge_full="#b3262e",
    queued="#676257",
    prefill="#2a6496",
    decode="#44701c",
    cached="#7a4b9c",
    user="#a6431c",
)
