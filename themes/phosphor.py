"""One green tube; amber and red only where they warn."""

from themes.palette import Palette

PALETTE = Palette(
    name="phosphor",
    dark=True,
    background="#070b07",
    surface="#0a110a",
    panel="#0f190f",
    foreground="#a5f0a8",
    quiet="#5f9e66",
    edge="#234a2a",
    primary="#4dff7c",
    secondary="#8fe8b0",
    success="#4dff7c",
    warning="#ffc857",
    error="#ff7b6b",
    gauge_ok="#3fcf66",
    gauge_warn="#ffc857",
    gauge_full="#ff7b6b",
    queued="#5f9e66",
    prefill="#8fe8b0",
    decode="#4dff7c",
    cached="#c5f57a",
    user="#4dff7c",
)
