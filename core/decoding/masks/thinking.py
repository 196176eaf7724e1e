"""Where a model's thinking ends, so that a mask begins after it."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.contract.models import Tokenizer
from core.decoding.masks.library import FREE_TOKENS, MAIN, ONLY_MAIN, write_letters

RULES: Final = """
SPACE: /[ \\t\\r\\n]{0,8}/
ANY: /(?s:.*)/
"""


class Thinking(Struct, frozen=True):
    """What may stand before an answer."""

    phase: ThinkingPhase
    begin: str
    end: str
    turn: str = ""
    """What comes between a thought and what follows it."""
    lead: str = ""
    """What comes before an answer that is no call."""


def find_thinking(family: ChatFamily | None, prompt: str) -> Thinking | None:
    """What a model of a family may write before the answer to `prompt`; None for nothing."""
    if family is None or family.thought is None:
        return None
    phase = family.find_phase(prompt)
    if phase is ThinkingPhase.BEHIND:
        # The template has written an empty thought: the model is not to think.
        return None
    marks = family.thought
    return Thinking(phase, marks.begin, marks.end, marks.turn, marks.lead)


def write_start(thinking: Thinking | None, tokenizer: Tokenizer, *, calls: bool = False) -> str:
    """The Lark grammar above an answer's own, or above that of `calls`."""
    if thinking is None:
        return ONLY_MAIN
    begin, end = (write_marks(mark, tokenizer) for mark in (thinking.begin, thinking.end))
    turn = write_marks(thinking.turn, tokenizer) if thinking.turn else "SPACE"
    lead = write_marks(thinking.lead, tokenizer) if thinking.lead and not calls else ""
    thought = f"ANY {end}" if end.startswith("<[") else "thought"
    lazy = "" if end.startswith("<[") else f"thought[lazy]: ANY {end}\n"
    before = f"{thought} {turn}" if thinking.phase is ThinkingPhase.INSIDE else f"(SPACE {begin} {thought} {turn})?"
    return f"{FREE_TOKENS}start: {before} {lead} @{MAIN}\n{lazy}{RULES}"


def write_mark(mark: str, tokenizer: Tokenizer) -> str:
    """What a Lark grammar calls a text: a control token by its number, and anything else by its letters."""
    tokens = tokenizer.encode(mark, special=True)
    if len(tokens) == 1 and not tokenizer.piece(tokens[0]):
        return f"<[{tokens[0]}]>"
    return write_letters(mark)


def write_marks(text: str, tokenizer: Tokenizer) -> str:
    """The same of a text in which there may be control tokens."""
    held = [control for control in tokenizer.controls if control and control in text]
    if not held:
        return write_mark(text, tokenizer)
    longest_first = sorted(held, key=lambda control: (-len(control), control))
    parts = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)
    return " ".join(write_mark(part, tokenizer) for part in parts if part)
