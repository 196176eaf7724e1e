"""What a user can do on the chat screen."""

from __future__ import annotations

from tui.actions.action import Action

ACTIONS = (
    Action(
        "chat.stop",
        "Stop the answer",
        "stop",
        ("escape", "ctrl+c"),
        "Stop the answer being written.",
        "stop",
        "esc",
    ),
    Action(
        "chat.enough",
        "End the thought",
        "end_thought",
        ("alt+t",),
        "Have the model answer now; what it has thought so far stays.",
        "enough",
        "alt+t",
    ),
    Action(
        "chat.leave",
        "Leave the message",
        "leave",
        ("escape",),
        "So that arrows scroll; whatever is typed goes to the message, and enter goes back to it.",
        palette=False,
    ),
    Action(
        "chat.new",
        "New chat",
        "new",
        ("ctrl+n",),
        "Put this conversation away and begin another.",
        "new",
        "^n",
    ),
    Action(
        "chat.before",
        "Back to the chat before",
        "before",
        ("alt+n",),
        "Bring back what a new chat has put away, and put this one away; as long as the program runs.",
    ),
    Action(
        "chat.again",
        "Answer again",
        "regenerate",
        ("ctrl+r",),
        "Ask for another answer to the last question; alt+r brings the one before back.",
        "again",
        "^r",
    ),
    Action(
        "chat.other",
        "The other answer",
        "other_answer",
        ("alt+r",),
        "Go round the answers that the last question was given.",
    ),
    Action(
        "chat.copy",
        "Copy the last answer",
        "copy_answer",
        ("ctrl+o",),
        "As Markdown, to the clipboard.",
        "copy",
        "^o",
    ),
    Action(
        "chat.export",
        "Export the chat",
        "export",
        ("ctrl+s",),
        "Write the chat to a Markdown file.",
        "export",
        "^s",
    ),
    Action(
        "chat.earlier",
        "Earlier exchanges",
        "earlier",
        ("alt+e",),
        "Bring back what a long chat has put away.",
    ),
    Action(
        "chat.write",
        "Write a message",
        "write",
        ("enter",),
        "Back to the message field.",
        palette=False,
    ),
)
