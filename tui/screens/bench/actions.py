"""What a user can do on the bench screen."""

from __future__ import annotations

from tui.actions.action import Action

ACTIONS = (
    Action(
        "bench.run",
        "Start or stop measuring",
        "run",
        ("s", "ctrl+s"),
        "Start, or stop early.",
        "start/stop",
    ),
    Action(
        "bench.engines",
        "Engines side by side, or as it serves",
        "engines",
        ("e",),
        "Switch between the engines that run the model and the loaded model as it serves.",
        "engines",
    ),
    Action(
        "bench.quality",
        "Quality of quants and KV types",
        "pane('quality')",
        ("q",),
        "Perplexity, and how far each is from the best of them; escape stops.",
        "quality",
    ),
    Action(
        "bench.tools",
        "How well a model calls tools",
        "pane('tools')",
        ("t",),
        "Eight questions, each judged; escape stops.",
        "tools",
    ),
    Action(
        "bench.export",
        "Write the results to files",
        "export",
        ("w",),
        "What the pane in sight has measured as JSON, CSV and Markdown, into the working directory.",
        "write",
    ),
    Action(
        "bench.use",
        "Use this engine",
        "use",
        ("enter", "u"),
        "Load the model with the engine and the settings of the row under the cursor; for now, or kept in the config.",
        "use it",
    ),
    Action(
        "bench.history",
        "Earlier runs of the setting",
        "history",
        ("h",),
        "The rates of the row under the cursor over all runs on this machine, in place of its rounds.",
        "runs",
    ),
    Action(
        "bench.leave",
        "Leave the field",
        "leave",
        ("escape",),
        "To the start button, where single keys act; there it stops what quality and tools measure.",
        palette=False,
    ),
)
