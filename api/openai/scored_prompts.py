"""How likely the tokens of prompts are, told where the prompts stand: at the beginning of each choice's text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from api.openai.completions_wire import CompletionRequest
from core.events import Event, Failed, Prefilled, PromptScored


def is_prompt_scored(body: CompletionRequest) -> bool:
    """Whether its reply tells how likely the prompt is."""
    return bool(body.echo) and body.logprobs is not None


class ScoredPrompts:
    """Of the prompts of one request. What comes of a prompt's choices waits until the prompt is scored."""

    def __init__(self, each: int) -> None:
        """`each`: choices of a prompt."""
        self._each = each
        self._scores: dict[int, PromptScored] = {}
        self._held: dict[int, list[Event]] = {}

    def find(self, index: int) -> PromptScored:
        """Of a choice's prompt, which is scored."""
        return self._scores[index // self._each]

    def pass_on(self, events: Sequence[Event]) -> Iterator[Event]:
        """The events whose turn has come, without the scores themselves."""
        for event in events:
            if isinstance(event, Failed | Prefilled):
                yield event
                continue
            prompt = event.index // self._each
            if isinstance(event, PromptScored):
                self._scores[prompt] = event
                yield from self._held.pop(prompt, ())
            elif prompt in self._scores:
                yield event
            else:
                self._held.setdefault(prompt, []).append(event)
