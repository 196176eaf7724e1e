"""Green on dark stone."""

from themes.palette import Palette

PALETTE = Palette(
    name="moss",
    dark=True,
    background="#121512",
    surface="#171b17",
    panel="#1d221d",
    foreground="#dfe6dc",
    quiet="#97a394",
    edge="#3a443a",
    primary="#8fc978",
    secondary="#c9bf78",
    success="#8fc978",
    warning="#e0b050",
    error="#f08070",
    gauge_ok="#8fc978",
    gauge_warn="#e0b050",
    gauge_full="#f08070",
    queued="#97a394",
    prefill="#79b8c9",
    decode="#8fc978",
    cached="#c9a0d8",
    user="#c9bf78",
)
