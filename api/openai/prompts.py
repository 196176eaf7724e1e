"""Prompts that stand as they are, no template around them: what a request's field holds, and their texts."""

from __future__ import annotations

from typing import Final

from api.openai.completions_wire import PromptValue
from core.errors import RequestError
from core.requests import Generation, Infill, Prompt, RawText, RawTokens
from core.serving.intake import RequestIntake

MOST_PROMPTS: Final = 1024
"""Of one request."""


def list_prompts(given: PromptValue, field: str) -> list[Prompt]:
    """What each item stands for. Raises RequestError for an empty list, too long a one, and for texts beside ids."""
    if isinstance(given, str):
        return [RawText(given)]
    ids = [each for each in given if isinstance(each, int)]
    if ids:
        if len(ids) < len(given):
            raise RequestError(f"`{field}` mixes token ids with texts; send one or the other.", field)
        return [RawTokens(tuple(ids))]
    check_number(len(given), field)
    return [RawTokens(tuple(each)) if isinstance(each, list) else RawText(str(each)) for each in given]


def check_number(prompts: int, field: str) -> None:
    """Raises RequestError for none, and for too many."""
    if not prompts:
        raise RequestError(f"`{field}` is an empty list; send a text, token ids, or a list of them.", field)
    if prompts > MOST_PROMPTS:
        raise RequestError(f"`{field}` has {prompts} prompts, and {MOST_PROMPTS} are the most at once.", field)


async def read_text(intake: RequestIntake, request: Generation) -> str:
    """A prompt's text, as its model writes it."""
    match request.prompt:
        case RawText(text=text) | Infill(before=text):
            return text
        case RawTokens(tokens=tokens):
            async with intake.reading(request.model, request.caller) as reader:
                return b"".join(await reader.decode(tokens, "prompt")).decode("utf-8", "replace")
        case _:
            return ""
