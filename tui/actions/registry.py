"""What a user can do, everywhere and on each screen: keys, footer, help and command palette are read from it."""

from __future__ import annotations

from collections.abc import Iterator

from tui.actions.action import Action
from tui.actions.screens import SCREENS, load_actions

JUMP_KEY = "ctrl+g"
"""Works in dialogs and in fields, too."""
HELP_KEY = f"f{len(SCREENS) + 1}"
"""The one behind those of the screens."""


def _screens() -> Iterator[Action]:
    for number, name in enumerate(SCREENS, 1):
        yield Action(
            f"screen.{name}",
            f"Go to {name}",
            f"go('{name}')",
            (f"f{number}", f"{number}", f"alt+{number}"),
            f"The {name} screen.",
            label="screens" if number == 1 else "",
            display=f"F1-{len(SCREENS)}" if number == 1 else None,
        )


EVERYWHERE = (
    *_screens(),
    Action(
        "app.help",
        "Keys and help",
        "help",
        (HELP_KEY, "question_mark"),
        "This page.",
        "help",
        HELP_KEY.upper(),
    ),
    Action(
        "app.palette",
        "Commands",
        "command_palette",
        ("ctrl+p",),
        "Every action of every screen and every theme, by name.",
        palette=False,
    ),
    Action(
        "app.speech",
        "Write down speech",
        "hear_speech",
        (),
        "Choose an audio file, or drop one; a Whisper model writes down what is said. Exports srt, vtt, txt and md.",
    ),
    Action(
        "app.similarity",
        "Compare two texts",
        "compare_texts",
        (),
        "How alike they are, by the vectors of an embedding model.",
    ),
    Action(
        "app.theme",
        "Choose a theme",
        "change_theme",
        ("ctrl+t",),
        "Try the themes as the cursor goes over them; enter keeps one, in the config too.",
    ),
    Action(
        "app.jump",
        "Jump",
        "jump",
        (JUMP_KEY,),
        "Letters show at all that can take the focus; one of them goes there, from a dialog and the message too.",
    ),
    Action(
        "app.ascii",
        "Draw with ASCII or Unicode",
        "toggle_ascii",
        (),
        "Switch gauges, plots and borders to plain ASCII and back.",
    ),
    Action(
        "app.animations",
        "Animations on or off",
        "toggle_animations",
        (),
        "Stop everything that moves by itself, or let it move again.",
    ),
    Action(
        "app.quit",
        "Quit",
        "quit",
        ("ctrl+q",),
        "Stop the server, unload the models, leave; asks while clients of the server wait for answers.",
        "quit",
        "^q",
        # A dialog hides all other keys of the app.
        priority=True,
    ),
)

NOTES = (
    "j and k go down and up in lists, as the arrows do.",
    "Enter sends a message; ctrl+j starts a new line in it.",
    "Up and down walk through earlier messages; @ completes the name of a text file, whose text goes with the message.",
    "A long paste becomes a chip above the message: shift+tab goes to it, enter opens it, delete removes it.",
    (
        "In chat, whatever is typed goes to the message, whatever has the focus; there, the keys with F switch screens "
        f"and {HELP_KEY.upper()} opens this page. Elsewhere 1 to {len(SCREENS)} and ? do so too."
    ),
    "Page up and page down scroll the conversation while you type.",
    "TUI_ASCII=1 draws in ASCII, NO_COLOR=1 without colours, TEXTUAL_ANIMATIONS=none without movement.",
)
"""What the help screen says besides keys."""


def list_actions(screen: str) -> tuple[Action, ...]:
    """The actions of the screen called `screen`, in the order of the help screen."""
    return load_actions(screen)
