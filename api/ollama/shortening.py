"""A conversation that its model's context does not hold, without its oldest turns: what `truncate` stands for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.errors import ContextExceeded
from core.requests import Conversation, Generation, Role
from core.serving.intake import RequestIntake
from core.serving.prompts import PromptReader
from core.serving.ready import Traits
from core.serving.stream import Stream

ANSWER_TOKENS: Final = 1024
"""That are left for an answer whose length is not said; a quarter of the context at most."""
KEPT: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})


class Shortened(Struct, frozen=True):
    generation: Generation
    dropped: int = 0
    """Messages that were left out."""


async def submit_shortened(
    intake: RequestIntake,
    generation: Generation,
    *,
    called: Callable[[str], None],
    meets: Callable[[Traits], None],
    drops: Callable[[int], None],
) -> Stream:
    """As `RequestIntake.submit`, of a conversation that may be too long; `drops` is told how many messages were left
    out where some were."""
    try:
        return await intake.submit(generation, called=called, meets=meets)
    except ContextExceeded as error:
        shortened = await shorten_conversation(intake, generation, error.context)
        if not shortened.dropped:
            raise
        drops(shortened.dropped)
        return await intake.submit(shortened.generation, called=called, meets=meets)


async def shorten_conversation(intake: RequestIntake, generation: Generation, context: int) -> Shortened:
    """The longest end of a conversation that begins with a turn of the user's and leaves room for an answer; what is
    said of the system stays. The last turn alone where none leaves room. Raises as `RequestIntake.reading`."""
    prompt = generation.prompt
    if not isinstance(prompt, Conversation):
        return Shortened(generation)
    starts = [at for at, message in enumerate(prompt.messages) if message.role is Role.USER][1:]
    if not starts:
        return Shortened(generation)
    room = context - min(generation.max_tokens or ANSWER_TOKENS, context // 4)
    async with intake.reading(generation.model, generation.caller) as reader:
        first, last = 0, len(starts) - 1
        while first < last:
            middle = (first + last) // 2
            if await _count(reader, _cut(generation, prompt, starts[middle]).generation) <= room:
                last = middle
            else:
                first = middle + 1
    return _cut(generation, prompt, starts[first])


def _cut(generation: Generation, prompt: Conversation, start: int) -> Shortened:
    """Without what comes before message `start`."""
    kept = tuple(message for message in prompt.messages[:start] if message.role in KEPT)
    shorter = replace(prompt, messages=(*kept, *prompt.messages[start:]))
    return Shortened(replace(generation, prompt=shorter), start - len(kept))


async def _count(reader: PromptReader, generation: Generation) -> int:
    try:
        return len((await reader.read(generation)).tokens)
    except ContextExceeded as error:
        return max(error.prompt_tokens, error.context)
