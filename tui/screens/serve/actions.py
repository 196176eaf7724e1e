"""What a user can do on the serve screen."""

from __future__ import annotations

from tui.actions.action import Action

ACTIONS = (
    Action("serve.toggle", "Start or stop the server", "switch", ("s",), "In this same process.", "start/stop"),
    Action(
        "serve.edit",
        "Change address, port, key and CORS",
        "edit_address",
        ("e",),
        "The server is bound anew in its place; ctrl+s there writes it to the config.",
        "edit",
    ),
    Action(
        "serve.look",
        "Look at the request",
        "look",
        ("enter",),
        "What it says and asks, what came of it, what was reused and why no more; also of those that have ended.",
    ),
    Action(
        "serve.cancel",
        "Cancel the request",
        "cancel",
        ("x", "delete"),
        "The one selected on the board.",
        "cancel",
    ),
    Action(
        "serve.curl",
        "Copy the curl line",
        "copy_curl",
        ("c",),
        "A request ready to paste into a shell.",
    ),
    Action(
        "serve.snippets",
        "Use it elsewhere: snippets and programs",
        "show_snippets",
        ("n",),
        "curl, Python and JavaScript for this kind of model, and the lines that launch coding agents on it.",
        "code",
    ),
    Action(
        "serve.usage",
        "Usage by model and key",
        "show_usage",
        ("u",),
        "Requests and tokens of today, of the last days or of all time, as `tui usage` tells them.",
    ),
    Action(
        "serve.board",
        "Back to the requests",
        "board",
        ("escape",),
        "From the button to the list of requests.",
        palette=False,
    ),
    Action(
        "serve.captured",
        "Captured requests",
        "show_captured",
        ("i",),
        "What clients really sent and were answered, compared and copied as curl lines; kept with --capture.",
    ),
    Action(
        "serve.model_log",
        "The log of the model in use, or of everything",
        "switch_log",
        ("l",),
        "What its engine and its loop said, which the log of everything has no room for.",
    ),
    Action("serve.key", "Copy the API key", "copy_key", ("y",), "The key that clients must send."),
    Action("serve.reveal", "Show or hide the API key", "reveal_key", ("v",), "It is hidden until this key is pressed."),
)
