"""One chat template of a model: how conversations are written with it, and how the answers behind it are read."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from core.chat.parsers.family import ChatFamily, ThinkingPhase, ThoughtMarks
from core.chat.parsers.registry import choose_family
from core.chat.parsers.response_schema import ResponseSchema, apply_schema
from core.chat.prompt import PromptEncoder
from core.chat.reasoning import WATCHED_WORDS, choose_thinking
from core.chat.template import ChatTemplate, Rendering
from core.contract.models import ModelSpec, Tokenizer
from core.requests import Conversation, ReasoningWish, Role, Scalar, TextPart

PARAGRAPH: Final = "\n\n"


class ChatVoice:
    """Safe to call from any thread. Making one tries the template out; whoever made it closes it."""

    def __init__(
        self,
        source: str | None,
        spec: ModelSpec,
        tokenizer: Tokenizer,
        model: str,
        schema: ResponseSchema | None = None,
        variables: Mapping[str, Scalar] = MappingProxyType({}),
    ) -> None:
        """`spec` and `tokenizer` are those of the model whose name is `model`; answers are read by `schema` where there
        is one. `variables` are those of the template that no conversation sets."""
        self.encoder = PromptEncoder(ChatTemplate(source, spec.bos, spec.eos, model=model), tokenizer)
        self._source = source or ""
        self._variables = variables
        self.family = apply_schema(choose_family(source), schema)
        self.shown = find_shown(self.family, tokenizer)
        """Control tokens that a parser of answers must see, with their letters."""

    def write(self, conversation: Conversation, wish: ReasoningWish = ReasoningWish()) -> Rendering:
        """The prompt's text, with marks in it, under what is wished of thinking: by the template's own variables, or
        with an empty thought behind it where the template cannot keep its model from thinking. What the client says to
        the template itself goes before.

        Raises as `PromptEncoder.write`.
        """
        if choose_thinking(wish) is False and self.encoder.control.off_word:
            conversation = _say_last(conversation, self.encoder.control.off_word)
        thinking = self.encoder.control.write_arguments(wish)
        said = {**self._variables, **thinking, **conversation.template_arguments}
        written = self.encoder.write(replace(conversation, template_arguments=said))
        silent = conversation.continued or not conversation.begun
        if choose_thinking(wish) is not False or self.encoder.control.off or silent:
            return written
        empty = self._write_empty_thought(written.text, conversation)
        return replace(written, text=written.text + empty) if empty else written

    def list_ignored(self, wish: ReasoningWish) -> tuple[str, ...]:
        """Of a wish's fields, those that nothing comes of."""
        control, thinks = self.encoder.control, self._thought is not None
        wanted = choose_thinking(wish)
        # A model that thinks, and cannot be told to, does so anyway; and one can be kept from it by an empty thought.
        heard = thinks or bool(control.on if wanted else control.off)
        # A template that tells of the effort may have words of its own for it; a switch has none.
        word = wish.effort or ""
        known = (
            word in WATCHED_WORDS
            or control.free
            or any(quoted in self._source for quoted in (f"'{word}'", f'"{word}"'))
        )
        weighed = known if control.effort else bool(control.on and word in WATCHED_WORDS)
        ignored = {
            "think": wish.think is not None and not heard,
            "effort": wish.effort is not None and not (weighed if wanted else heard),
            "budget": wish.budget is not None and not (thinks or control.budget or (wish.budget == 0 and heard)),
        }
        return tuple(name for name, vain in ignored.items() if vain)

    def write_ending(self, wish: ReasoningWish, prompt: str, *, tools: bool) -> tuple[str, str] | None:
        """What a thought is ended with behind a prompt: last words, which are text whatever they look like, and what
        the model writes between a thought and what follows, with control tokens; None where it does not think. With
        tools, what follows is left to the model where an answer and calls begin differently."""
        if self._thought is None or self.family is None or self.family.find_phase(prompt) is ThinkingPhase.BEHIND:
            return None
        # A thought may be cut amid a sentence.
        apart = PARAGRAPH if wish.message and not wish.message[0].isspace() else ""
        return apart + wish.message, self._choose_close(tools=tools)

    @property
    def _thought(self) -> ThoughtMarks | None:
        return self.family.thought if self.family is not None else None

    def _choose_close(self, *, tools: bool) -> str:
        """What goes between a thought and the answer."""
        assert self._thought is not None
        end, close = self._thought.end, self.encoder.control.end
        if end not in close:
            return f"\n{end}\n\n"
        through = close.index(end) + len(end)
        return close[:through] if tools and close[through:].strip() else close

    def _write_empty_thought(self, text: str, conversation: Conversation) -> str:
        """What has a model think no more whose prompt is `text`; empty where nothing does."""
        if self._thought is None or self.family is None:
            return ""
        phase = self.family.find_phase(text)
        if phase is ThinkingPhase.BEHIND:
            return ""
        begin = "" if phase is ThinkingPhase.INSIDE else self.encoder.control.begin or f"{self._thought.begin}\n"
        empty = begin + self._choose_close(tools=bool(conversation.tools))
        return "" if self.family.find_phase(text + empty) is ThinkingPhase.INSIDE else empty

    def show_phase(self, written: Rendering) -> str:
        """The prompt's text as it tells whether the model thinks: one that ends amid a thought, like one that begins
        it."""
        if written.thinking and self.family is not None and self.family.thought is not None:
            return self.family.thought.begin
        return written.text

    def close(self) -> None:
        """Nothing can be written afterwards; what is being written fails."""
        self.encoder.close()


def _say_last(conversation: Conversation, word: str) -> Conversation:
    """A word behind the last that the user said, for the template."""
    messages = list(conversation.messages)
    at = next((at for at in reversed(range(len(messages))) if messages[at].role is Role.USER), None)
    if at is None:
        return conversation
    messages[at] = replace(messages[at], parts=(*messages[at].parts, TextPart(f" {word}")))
    return replace(conversation, messages=tuple(messages))


def find_shown(family: ChatFamily | None, tokenizer: Tokenizer) -> dict[int, bytes]:
    """Control tokens among a family's marks: what they stand for in an answer that is read for thoughts and calls."""
    if family is None:
        return {}
    marks = tokenizer.controls if family.sees_all else family.marks & tokenizer.controls
    tokens = {mark: tokenizer.encode(mark, special=True) for mark in marks}
    return {ids[0]: mark.encode() for mark, ids in tokens.items() if len(ids) == 1 and not tokenizer.is_end(ids[0])}
