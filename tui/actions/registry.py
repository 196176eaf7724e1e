"""The one registry of what a user can do: key bindings, footer, help screen and command palette are read from it."""

from __future__ import annotations

from collections.abc import Iterator

from textual.binding import BindingType

from tui.actions.action import Action, Scope, bindings_of, bindings_there

__all__ = [
    "ACTIONS",
    "NOTES",
    "SCREENS",
    "Action",
    "Scope",
    "bindings",
    "download_bindings",
    "of",
    "scope_of",
    "selecting",
]

SCREENS = ("models", "bench", "serve", "chat")
"""In the order of their keys, 1 to 4."""


def _screens() -> Iterator[Action]:
    for number, name in enumerate(SCREENS, 1):
        yield Action(
            f"screen.{name}",
            Scope.APP,
            f"Go to {name}",
            f"go('{name}')",
            (f"f{number}", f"{number}", f"alt+{number}"),
            f"The {name} screen.",
            label="screens" if number == 1 else "",
            display="F1-4" if number == 1 else None,
        )


ACTIONS: tuple[Action, ...] = (
    *_screens(),
    Action(
        "app.help",
        Scope.APP,
        "Keys and help",
        "help",
        ("f5", "question_mark"),
        "This page.",
        "help",
        "F5",
        palette=True,
    ),
    Action(
        "app.palette",
        Scope.APP,
        "Commands",
        "command_palette",
        ("ctrl+p",),
        "Every action and every theme, by name.",
        palette=False,
    ),
    Action(
        "app.theme",
        Scope.APP,
        "Choose a theme",
        "change_theme",
        ("ctrl+t",),
        "Try the themes; the choice is for this run.",
    ),
    Action(
        "app.ascii",
        Scope.APP,
        "Draw with ASCII or Unicode",
        "toggle_ascii",
        (),
        "Switch gauges, plots and borders to plain ASCII and back.",
    ),
    Action(
        "app.animations",
        Scope.APP,
        "Animations on or off",
        "toggle_animations",
        (),
        "Stop everything that moves by itself, or let it move again.",
    ),
    Action(
        "app.quit",
        Scope.APP,
        "Quit",
        "quit",
        ("ctrl+q",),
        "Stop the server, unload the models, leave; asks once while downloads are under way.",
        "quit",
        "^q",
        # A dialog hides all other keys of the app.
        priority=True,
    ),
    Action(
        "models.load",
        Scope.MODELS,
        "Load the model, or see its quants",
        "load",
        ("l", "enter"),
        "Load a model that is here, talk to one that is loaded; choose a quant of any other, and download it.",
        "load",
        selects=True,
    ),
    Action(
        "models.search",
        Scope.MODELS,
        "Search for models",
        "search",
        ("slash", "ctrl+f"),
        "Here, in the catalog and at the Hub; down goes to the list, escape clears.",
        "search",
    ),
    Action(
        "models.source",
        Scope.MODELS,
        "All, here, catalog or Hub",
        "source",
        ("s",),
        "Which part of the list is shown.",
        "source",
        selects=True,
    ),
    Action(
        "models.narrow",
        Scope.MODELS,
        "Filter the models",
        "narrow",
        ("f",),
        "By task, format, licence and parameters.",
        "filter",
        selects=True,
    ),
    Action(
        "models.order",
        Scope.MODELS,
        "Sort the models",
        "order",
        ("t",),
        "By place, name, size, pulls (downloads at the Hub), likes, age, fit.",
        selects=True,
    ),
    Action("models.unload", Scope.MODELS, "Unload the model", "unload", ("u",), "Free its memory.", selects=True),
    Action(
        "models.pin",
        Scope.MODELS,
        "Pin the model, or unpin it",
        "pin",
        ("p",),
        "A pinned one stays loaded.",
        selects=True,
    ),
    Action(
        "models.less",
        Scope.MODELS,
        "Less context",
        "context(-1)",
        ("left", "minus"),
        "Ask whether it fits with half the context.",
        selects=True,
    ),
    Action(
        "models.more",
        Scope.MODELS,
        "More context",
        "context(1)",
        ("right", "plus", "equals_sign"),
        "Ask whether it fits with twice the context.",
        selects=True,
    ),
    Action(
        "models.least",
        Scope.MODELS,
        "Least context",
        "context_edge(-1)",
        ("home",),
        "Among the quants; in the list it goes to the top.",
        selects=True,
    ),
    Action(
        "models.most",
        Scope.MODELS,
        "Most context",
        "context_edge(1)",
        ("end",),
        "As trained, among the quants; in the list it goes to the end.",
        selects=True,
    ),
    Action(
        "models.kv",
        Scope.MODELS,
        "Another KV type",
        "kv",
        ("v",),
        "Ask whether it fits with f16, q8_0 or q4_0 as the type of the KV cache.",
        selects=True,
    ),
    Action(
        "models.scroll",
        Scope.MODELS,
        "Scroll the details down",
        "scroll_details(1)",
        ("right_square_bracket", "shift+down"),
        "Where they are longer than their room.",
        palette=False,
    ),
    Action(
        "models.scroll_up",
        Scope.MODELS,
        "Scroll the details up",
        "scroll_details(-1)",
        ("left_square_bracket", "shift+up"),
        "Back to their beginning.",
        palette=False,
    ),
    Action(
        "models.transfers",
        Scope.MODELS,
        "Downloads",
        "transfers",
        ("w",),
        "To the list of what is on its way; again, or escape, leaves it.",
    ),
    Action(
        "models.pause",
        Scope.MODELS,
        "Pause the download, or go on",
        "pause",
        ("space",),
        "The one selected among the downloads, where enter does it too.",
        downloads="pause",
        there=("enter",),
    ),
    Action(
        "models.cancel",
        Scope.MODELS,
        "Cancel the download",
        "cancel",
        ("x",),
        "The one selected, where d does it too; asks whether to keep what is here. What is over leaves the list.",
        downloads="cancel",
        there=("d", "delete"),
    ),
    Action(
        "models.clear",
        Scope.MODELS,
        "Clear the list of downloads",
        "clear",
        ("c",),
        "Of what is done, has failed or was cancelled; no file is deleted.",
    ),
    Action(
        "models.resume",
        Scope.MODELS,
        "Go on with all downloads",
        "resume",
        ("r",),
        "With those that were interrupted, were paused or failed.",
        downloads="resume",
    ),
    Action(
        "models.back",
        Scope.MODELS,
        "Back to the list",
        "back",
        ("escape",),
        "From the quants or the downloads.",
        palette=False,
        downloads="back",
    ),
    Action(
        "models.delete",
        Scope.MODELS,
        "Delete the model",
        "delete",
        ("d", "delete"),
        "Its files, after a question; of one that is being downloaded, cancel that.",
        selects=True,
    ),
    Action("models.open", Scope.MODELS, "Open a .gguf file", "open", ("o",), "Load a local file by its path."),
    Action(
        "models.rescan", Scope.MODELS, "Look again", "rescan", ("R",), "Read the folders and ask the servers again."
    ),
    Action(
        "bench.run",
        Scope.BENCH,
        "Start or stop measuring",
        "run",
        ("s", "ctrl+s"),
        "Start, or stop early.",
        "start/stop",
    ),
    Action(
        "bench.engines",
        Scope.BENCH,
        "Engines side by side, or as it serves",
        "engines",
        ("e",),
        "Switch between the engines that run the model and the loaded model as it serves.",
        "engines",
    ),
    Action(
        "bench.export",
        Scope.BENCH,
        "Write the results to files",
        "export",
        ("w",),
        "Engines side by side as JSON, CSV and Markdown, into the working directory.",
        "write",
    ),
    Action(
        "bench.leave",
        Scope.BENCH,
        "Leave the field",
        "leave",
        ("escape",),
        "To the start button, where single keys act.",
        palette=False,
    ),
    Action(
        "serve.toggle", Scope.SERVE, "Start or stop the server", "switch", ("s",), "In this same process.", "start/stop"
    ),
    Action(
        "serve.cancel",
        Scope.SERVE,
        "Cancel the request",
        "cancel",
        ("x", "delete"),
        "The one selected on the board.",
        "cancel",
    ),
    Action(
        "serve.curl",
        Scope.SERVE,
        "Copy the curl line",
        "copy_curl",
        ("c",),
        "A request ready to paste into a shell.",
        "copy curl",
    ),
    Action(
        "serve.board",
        Scope.SERVE,
        "Back to the requests",
        "board",
        ("escape",),
        "From the button to the list of requests.",
        palette=False,
    ),
    Action("serve.key", Scope.SERVE, "Copy the API key", "copy_key", ("k",), "The key that clients must send."),
    Action(
        "chat.stop",
        Scope.CHAT,
        "Stop the answer",
        "stop",
        ("escape", "ctrl+c"),
        "Stop the answer being written.",
        "stop",
        "esc",
    ),
    Action(
        "chat.leave",
        Scope.CHAT,
        "Leave the message",
        "leave",
        ("escape",),
        "So that arrows scroll; whatever is typed goes to the message, and enter goes back to it.",
        palette=False,
    ),
    Action(
        "chat.new",
        Scope.CHAT,
        "New chat",
        "new",
        ("ctrl+n",),
        "Put this conversation away and begin another.",
        "new",
        "^n",
    ),
    Action(
        "chat.before",
        Scope.CHAT,
        "Back to the chat before",
        "before",
        ("alt+n",),
        "Bring back what a new chat has put away, and put this one away; as long as the program runs.",
    ),
    Action(
        "chat.again",
        Scope.CHAT,
        "Answer again",
        "regenerate",
        ("ctrl+r",),
        "Throw the last answer away and ask for another.",
        "again",
        "^r",
    ),
    Action(
        "chat.copy",
        Scope.CHAT,
        "Copy the last answer",
        "copy_answer",
        ("ctrl+o",),
        "As Markdown, to the clipboard.",
        "copy",
        "^o",
    ),
    Action(
        "chat.export",
        Scope.CHAT,
        "Export the chat",
        "export",
        ("ctrl+s",),
        "Write the chat to a Markdown file.",
        "export",
        "^s",
    ),
    Action(
        "chat.earlier",
        Scope.CHAT,
        "Earlier exchanges",
        "earlier",
        ("alt+e",),
        "Bring back what a long chat has put away.",
    ),
    Action(
        "chat.write",
        Scope.CHAT,
        "Write a message",
        "write",
        ("enter",),
        "Back to the message field.",
        palette=False,
    ),
)

NOTES = (
    "j and k go down and up in lists, as the arrows do.",
    "Enter sends a message; ctrl+j starts a new line in it.",
    "In chat, letters go to the message whatever has the focus; nothing that is typed there is a command.",
    (
        "While the message is empty, 1 to 4 switch screens and ? opens this page; to begin a message with one of "
        "them, type a space first (it is not sent) or paste."
    ),
    "Page up and page down scroll the conversation while you type.",
    "TUI_ASCII=1 draws in ASCII, NO_COLOR=1 without colours, TEXTUAL_ANIMATIONS=none without movement.",
)
"""What the help screen says besides keys."""


def of(*scopes: Scope) -> Iterator[Action]:
    """The actions at home in `scopes`, in the registry's order."""
    return (action for action in ACTIONS if action.scope in scopes)


def bindings(scope: Scope) -> list[BindingType]:
    """The key bindings of one scope. Only an action's first key is shown in the footer."""
    return [binding for action in of(scope) for binding in bindings_of(action)]


def download_bindings() -> list[BindingType]:
    """The keys of the list of downloads, which the footer shows while the cursor is in it."""
    return [binding for action in ACTIONS if action.downloads for binding in bindings_there(action)]


def selecting() -> frozenset[str]:
    """The names of the Textual actions that are about the list of models."""
    return frozenset(action.run.partition("(")[0] for action in ACTIONS if action.selects)


def scope_of(screen: str) -> Scope:
    """The scope of the screen called `screen`, one of `SCREENS`."""
    return Scope(screen)
