"""One chat template of a model: how conversations are written with it, and how the answers behind it are read."""

from __future__ import annotations

from core.chat.parsers.family import ChatFamily
from core.chat.parsers.registry import choose_family
from core.chat.prompt import PromptEncoder
from core.chat.template import ChatTemplate, Rendering
from core.contract.models import ModelSpec, Tokenizer


class ChatVoice:
    """Safe to call from any thread. Making one tries the template out; whoever made it closes it."""

    def __init__(self, source: str | None, spec: ModelSpec, tokenizer: Tokenizer, model: str) -> None:
        """`spec` and `tokenizer` are those of the model whose name is `model`."""
        self.encoder = PromptEncoder(ChatTemplate(source, spec.bos, spec.eos, model=model), tokenizer)
        self.family = choose_family(source)
        self.shown = find_shown(self.family, tokenizer)
        """Control tokens that a parser of answers must see, with their letters."""

    def show_phase(self, written: Rendering) -> str:
        """The prompt's text as it tells whether the model thinks: one that ends amid a thought, like one that begins
        it."""
        if written.thinking and self.family is not None and self.family.thought is not None:
            return self.family.thought.begin
        return written.text

    def close(self) -> None:
        """Nothing can be written afterwards; what is being written fails."""
        self.encoder.close()


def find_shown(family: ChatFamily | None, tokenizer: Tokenizer) -> dict[int, bytes]:
    """Control tokens among a family's marks: what they stand for in an answer that is read for thoughts and calls."""
    marks = family.marks if family is not None else frozenset()
    tokens = {mark: tokenizer.encode(mark, special=True) for mark in marks & tokenizer.controls}
    return {ids[0]: mark.encode() for mark, ids in tokens.items() if len(ids) == 1 and not tokenizer.is_end(ids[0])}
