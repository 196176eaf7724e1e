"""Pure black, pure white and a few loud colours: nothing below seven to one."""

from themes.palette import Palette

PALETTE = Palette(
    name="contrast",
    dark=True,
    background="#000000",
    surface="#000000",
    panel="#000000",
    foreground="#ffffff",
    quiet="#d4d4d4",
    edge="#9a9a9a",
    primary="#ffe600",
    secondary="#00e5ff",
    success="#3dff7a",
    warning="#ffb52e",
    error="#ff8080",
    gauge_ok="#3dff7a",
    gauge_warn="#ffb52e",
    gauge_full="#ff8080",
    queued="#d4d4d4",
    prefill="#00e5ff",
    decode="#3dff7a",
    cached="#ff9cff",
    user="#ffe600",
)
