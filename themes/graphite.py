"""Pencil grey with one signal orange; the default."""

from themes.palette import Palette

PALETTE = Palette(
    name="graphite",
    dark=True,
    background="#15171a",
    surface="#1a1d21",
    panel="#1f2328",
    foreground="#d8dbdf",
    quiet="#8d949e",
    edge="#363c44",
    primary="#f29e4c",
    secondary="#7fb4c9",
    success="#a7c86f",
    warning="#e8c15a",
    error="#e8696f",
    gauge_ok="#8fae62",
    gauge_warn="#e8c15a",
    gauge_full="#e8696f",
    queued="#8d949e",
    prefill="#6ca7d8",
    decode="#a7c86f",
    cached="#b79ad6",
    user="#f29e4c",
)
