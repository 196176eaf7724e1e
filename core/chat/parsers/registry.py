"""The families, and which of them a chat template is written for."""

from __future__ import annotations

from typing import Final

from core.chat.parsers.family import CallSyntax, ChatFamily, ThoughtMarks
from core.chat.parsers.hermes import HermesCalls

THOUGHTS: Final = (
    ThoughtMarks("<think>", "</think>"),
    ThoughtMarks("<thinking>", "</thinking>"),
    ThoughtMarks("<seed:think>", "</seed:think>"),
    ThoughtMarks("[THINK]", "[/THINK]"),
    ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""What models write before and after what they think."""
SIGNS: Final[tuple[tuple[str, tuple[str, ...], CallSyntax], ...]] = (("hermes", ("<tool_call>",), HermesCalls()),)
"""Names of families, texts that stand together in the templates of each alone, and how it writes calls."""


def choose_family(template: str | None) -> ChatFamily | None:
    """The family of a model whose chat template is this; None where nothing in its answers is to be told apart."""
    if template is None:
        return None
    thought = next((marks for marks in THOUGHTS if marks.begin in template and marks.end in template), None)
    for name, signs, calls in SIGNS:
        if all(sign in template for sign in signs):
            return ChatFamily(name, thought, calls)
    return ChatFamily("thinking", thought) if thought is not None else None
