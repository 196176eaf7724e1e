"""From a conversation to token ids, with control tokens only where the template wrote them: see `core.chat.marks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.chat.marks import Marker
from core.chat.plain import Writing
from core.chat.reasoning import ThinkingControl
from core.chat.template import ChatTemplate, Rendering
from core.contract.models import Tokenizer
from core.requests import Conversation, Message, Scalar, Tool


class PromptEncoder:
    """Renders and tokenises conversations for one model. Safe to call from any thread."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self._template = template
        self._tokenizer = tokenizer
        self._marker = Marker(tokenizer.controls, template.replaced, folds=template.folds)
        self._writing = Writing(self._marker.mark, self._marker.mark_name, self._marker.mark_json)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the model's chat template."""
        return self._template.notes

    @property
    def control(self) -> ThinkingControl:
        """What the chat template lets one say of thinking."""
        return self._template.control

    def encode(
        self, messages: Sequence[Message], arguments: Mapping[str, Scalar], tools: Sequence[Tool] = ()
    ) -> list[int]:
        """`write` and `tokenise`."""
        return self.tokenise(self.write(Conversation(tuple(messages), arguments, tuple(tools))).text)

    def write(self, conversation: Conversation) -> Rendering:
        """The prompt's text, with marks in it. Waits for the template's process, and computes next to nothing.

        Raises RequestError where the template refuses the messages, TemplateFailed where it fails at them.
        """
        return self._template.render(
            conversation.messages,
            conversation.template_arguments,
            tools=conversation.tools,
            add_generation_prompt=conversation.begun,
            continued=conversation.continued,
            writing=self._writing,
        )

    def tokenise(self, text: str) -> list[int]:
        """The tokens of a text that `write` made."""
        tokens: list[int] = []
        for number, piece in enumerate(self._marker.split(text)):
            tokens += self._tokenizer.encode(piece.text, special=not piece.plain, begin=number == 0)
        return tokens

    def unmark(self, text: str) -> str:
        """A text that `write` made, as the model reads it."""
        return "".join(piece.text for piece in self._marker.split(text))

    def close(self) -> None:
        """Nothing can be written afterwards; what is being written fails."""
        self._template.close()
