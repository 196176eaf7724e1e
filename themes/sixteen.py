"""For terminals that have no more than sixteen colours, such as the Linux console: nothing is approximated there."""

from themes.palette import Palette

PALETTE = Palette(
    name="sixteen",
    dark=True,
    background="ansi_black",
    surface="ansi_black",
    panel="ansi_black",
    foreground="ansi_bright_white",
    quiet="ansi_white",
    edge="ansi_blue",
    primary="ansi_bright_yellow",
    secondary="ansi_bright_cyan",
    success="ansi_bright_green",
    warning="ansi_bright_yellow",
    error="ansi_bright_red",
    gauge_ok="ansi_bright_green",
    gauge_warn="ansi_bright_yellow",
    gauge_full="ansi_bright_red",
    queued="ansi_white",
    prefill="ansi_bright_cyan",
    decode="ansi_bright_green",
    cached="ansi_bright_white",
    user="ansi_bright_yellow",
)
