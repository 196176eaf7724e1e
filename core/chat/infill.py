"""Prompts of models that were trained to fill gaps: their control tokens, and the order in which they read parts."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import Final

from msgspec import Struct

from core.contract.models import Tokenizer
from core.errors import RequestError
from core.requests import Infill


class GapOrder(Enum):
    """Which part a model reads first."""

    BEFORE_FIRST = auto()
    AFTER_FIRST = auto()


class GapMarks(Struct, frozen=True):
    """Control tokens that stand before each part; `middle` where the answer begins, nothing where that is the end."""

    before: str
    after: str
    middle: str
    order: GapOrder = GapOrder.BEFORE_FIRST
    repository: str = ""
    """Before the name of the whole, where files are told."""
    file: str = ""
    """Before each file's name."""


FAMILIES: Final = (
    # Qwen Coder, StarCoder 2's successors and CodeGemma write it with bars
    GapMarks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", repository="<|repo_name|>", file="<|file_sep|>"),
    GapMarks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", file="<|file_separator|>"),
    GapMarks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    # StarCoder, Granite Code, Refact, SmolLM
    GapMarks("<fim_prefix>", "<fim_suffix>", "<fim_middle>", repository="<repo_name>", file="<file_sep>"),
    GapMarks("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    GapMarks("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    # DeepSeek Coder: begin, hole, end
    GapMarks("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
    # Code Llama
    GapMarks("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"),
    GapMarks("<PRE>", "<SUF>", "<MID>"),
    # GLM
    GapMarks("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    # Codestral reads what follows first, and goes on where what precedes ends
    GapMarks("[PREFIX]", "[SUFFIX]", "", order=GapOrder.AFTER_FIRST),
)
"""The first whose tokens a vocabulary has is the model's."""
NO_REPOSITORY: Final = "project"
"""The name of the whole that files of a request belong to; nobody told it."""


def find_gap_marks(tokenizer: Tokenizer) -> GapMarks | None:
    """How a model wants to be shown a gap; None for one that was not trained to fill any."""
    controls = tokenizer.controls
    for marks in FAMILIES:
        wanted = {marks.before, marks.after, marks.middle, marks.repository, marks.file} - {""}
        if wanted <= controls:
            return marks
    return None


def encode_gap(tokenizer: Tokenizer, gap: Infill, model: str) -> list[int]:
    """The tokens of a prompt; control tokens written in the texts are mere characters.

    Raises RequestError where the model was not trained to fill gaps; `model` is its name.
    """
    marks = find_gap_marks(tokenizer)
    if marks is None:
        raise RequestError(
            f"The model {model} was not trained to fill gaps: its vocabulary has no tokens for them. Ask a model for "
            "code that was, as Qwen Coder or StarCoder, or leave out what follows the gap.",
            "suffix",
        )
    tokens = tokenizer.encode("", special=True, begin=True)
    for text, special in _list_pieces(marks, gap):
        tokens += tokenizer.encode(text, special=special)
    return tokens


def _list_pieces(marks: GapMarks, gap: Infill) -> Iterator[tuple[str, bool]]:
    """Texts in order, and whether each is a control token."""
    if gap.files and marks.repository:
        yield marks.repository, True
        yield f"{NO_REPOSITORY}\n", False
    for name, text in gap.files:
        if marks.file:
            yield marks.file, True
            yield f"{name}\n{text}", False
        else:
            # What a model without a mark for files reads is the text before the gap.
            yield f"{text}\n", False
    if gap.files and marks.file:
        yield marks.file, True
        yield "\n", False
    before, after = ((marks.before, gap.before), (marks.after, gap.after))
    parts = (before, after) if marks.order is GapOrder.BEFORE_FIRST else (after, before)
    for mark, text in parts:
        yield mark, True
        if text:
            yield text, False
    if marks.middle:
        yield marks.middle, True
    if gap.begun:
        yield gap.begun, False
