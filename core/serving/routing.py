"""Which model answers a request for `auto`: a pure function of the prompt and of the models."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from core.errors import RequestError
from core.requests import Conversation, Generation, Infill, RawText, RawTokens, Role, name_prompt_field
from core.settings.schema import Strategy
from core.tasks.bounds import count_prompt_bytes

AUTO = "auto"
"""The model's name in a request that wants to be routed."""
CHARACTERS_PER_TOKEN = 3.0
"""A low estimate: a prompt is better taken to be too long for a context than found to be when the model reads it."""
LOOKED_AT_CHARACTERS = 16_384
"""Of what is asked: so much tells what it is like, and more would hold up the event loop."""
LONG_PROMPT_TOKENS = 2000
"""Tokens at which a prompt counts as long in full."""

CODE = re.compile(
    r"```|^\s*(def|class|import|from|fn|func|public|#include|SELECT)\b|[{};]\s*$|=>|::|\w+\(.*\)", re.MULTILINE
)
MATHEMATICS = re.compile(
    r"\\(frac|int|sum|sqrt)|[∑∫√≤≥≠]|\b(prove|proof|integral|derivative|equation|theorem|probability|matrix)\b"
    r"|\d\s*[-+*/^=]\s*\(?\d",
    re.IGNORECASE,
)
STEPS = re.compile(
    r"^\s*(\d+[.)]|[-*])\s"
    r"|\b(step by step|first|then|next|finally|compare|explain why|analy[sz]e|design|refactor|plan|debug)\b",
    re.IGNORECASE | re.MULTILINE,
)
FOREIGN = re.compile(r"[^\x00-\u024f\u2000-\u2bff\U0001f000-\U0001ffff]")


class Route(Struct, frozen=True):
    """A model that `auto` may stand for."""

    model: str
    cost: int
    """Bytes of weights, which stand for the time that a token takes."""
    context: int | None = None
    """Tokens that it holds; None where that is not known."""


class Decision(Struct, frozen=True):
    model: str
    reason: str
    """In ASCII, fit for a header."""


class Features(Struct, frozen=True):
    """What makes a prompt look hard, each from 0 to 1."""

    length: float = 0.0
    code: float = 0.0
    mathematics: float = 0.0
    steps: float = 0.0
    languages: float = 0.0
    """Scripts beyond the Latin one, which small models know least."""
    tools: float = 0.0
    """Results of tools in the conversation, which have to be made sense of."""

    @property
    def score(self) -> float:
        """From 0 to 1. Any one feature alone can ask for the largest model but length, languages and steps."""
        weighted = (
            0.6 * self.length,
            0.8 * self.code,
            0.8 * self.mathematics,
            0.6 * self.steps,
            0.5 * self.languages,
            0.7 * self.tools,
        )
        remaining = 1.0
        for each in weighted:
            remaining *= 1.0 - each
        return 1.0 - remaining

    def told(self) -> str:
        """The features that count, as `code 0.8, steps 0.3`."""
        named = {name: getattr(self, name) for name in self.__struct_fields__}
        return ", ".join(f"{name} {value:.1f}" for name, value in named.items() if value >= 0.1) or "plain"


def extract_features(request: Generation) -> Features:
    """Of the last thing the user said, save the length, which is that of the whole prompt."""
    if isinstance(request.prompt, RawTokens):
        return Features(length=min(1.0, len(request.prompt.tokens) / LONG_PROMPT_TOKENS))
    text = _asked(request)[:LOOKED_AT_CHARACTERS]
    letters = sum(character.isalpha() for character in text) or 1
    return Features(
        length=min(1.0, estimate_tokens(request) / LONG_PROMPT_TOKENS),
        code=min(1.0, len(CODE.findall(text)) / 3),
        mathematics=min(1.0, len(MATHEMATICS.findall(text)) / 2),
        steps=min(1.0, len(STEPS.findall(text)) / 4),
        languages=min(1.0, 2 * len(FOREIGN.findall(text)) / letters),
        tools=min(1.0, _results(request) / 2),
    )


def _results(request: Generation) -> int:
    if not isinstance(request.prompt, Conversation):
        return 0
    return sum(message.role is Role.TOOL for message in request.prompt.messages)


def estimate_tokens(request: Generation) -> int:
    """A guess at the length of the prompt; the tokenizer is the chosen model's business."""
    match request.prompt:
        case Conversation(messages=messages):
            return int(sum(len(message.text) + 12 for message in messages) / CHARACTERS_PER_TOKEN)
        case RawText(text=text):
            return int(len(text) / CHARACTERS_PER_TOKEN)
        case RawTokens(tokens=given):
            return len(given)
        case Infill():
            return int(count_prompt_bytes(request) / CHARACTERS_PER_TOKEN)


def choose_route(request: Generation, routes: Sequence[Route], strategy: Strategy, turn: int = 0) -> Decision:
    """The model to answer with; `turn` counts the requests routed so far.

    Raises RequestError when none is large enough for the prompt.
    """
    need = estimate_tokens(request) + (request.max_tokens or 1)
    able = sorted((each for each in routes if each.context is None or each.context >= need), key=lambda r: r.cost)
    if not able:
        largest = max((each.context or 0 for each in routes), default=0)
        raise RequestError(
            f"The prompt and its answer need about {need} tokens, and the largest context there is holds {largest}; "
            "shorten the prompt, or ask for fewer tokens.",
            name_prompt_field(request.prompt),
        )
    match strategy:
        case Strategy.COMPLEXITY:
            found = extract_features(request)
            index = min(len(able) - 1, int(found.score * len(able)))
            return Decision(able[index].model, f"complexity {found.score:.2f}: {found.told()}")
        case Strategy.CHEAPEST:
            return Decision(able[0].model, f"cheapest-that-fits: about {need} tokens")
        case Strategy.ROUND_ROBIN:
            ordered = [each for each in routes if each in able]
            return Decision(ordered[turn % len(ordered)].model, f"round-robin: request {turn + 1}")


def _asked(request: Generation) -> str:
    match request.prompt:
        case Conversation(messages=messages):
            said = [message.text for message in messages if message.role is Role.USER]
            return said[-1] if said else ""
        case RawText(text=text):
            return text
        case Infill(before=before):
            return before
        case RawTokens():
            return ""
