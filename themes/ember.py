"""Dark and warm, as if lit by a stove."""

from themes.palette import Palette

PALETTE = Palette(
    name="ember",
    dark=True,
    background="#1b1412",
    surface="#221916",
    panel="#2a1f1b",
    foreground="#ecdccb",
    quiet="#a9917f",
    edge="#4d3a31",
    primary="#e8743b",
    secondary="#d9a441",
    success="#b9b863",
    warning="#f0b23e",
    error="#f2685a",
    gauge_ok="#a9a552",
    gauge_warn="#f0b23e",
    gauge_full="#f2685a",
    queued="#a9917f",
    prefill="#74aba2",
    decode="#d9bd55",
    cached="#cc8fa8",
    user="#d9a441",
)
