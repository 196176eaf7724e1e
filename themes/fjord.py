"""Dark and cool, blue-green water."""

from themes.palette import Palette

PALETTE = Palette(
    name="fjord",
    dark=True,
    background="#0f1821",
    surface="#13202b",
    panel="#192836",
    foreground="#d5e1ea",
    quiet="#8499ab",
    edge="#2d4356",
    primary="#5fc3d6",
    secondary="#8fa9e8",
    success="#7cc7a0",
    warning="#e3c878",
    error="#ec7c86",
    gauge_ok="#5fae8a",
    gauge_warn="#e3c878",
    gauge_full="#ec7c86",
    queued="#8499ab",
    prefill="#8fa9e8",
    decode="#6fd0b3",
    cached="#c39be0",
    user="#5fc3d6",
)
