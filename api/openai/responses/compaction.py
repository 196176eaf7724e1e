"""From a long conversation to a short one that can be gone on from: what the user said, and a summary of all else."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from api.http.answer import WholeDialect
from api.openai.responses.items import list_item, make_id
from api.openai.responses.resource import ENCODER, CompactedItem, CompactedResponse, InputTextPart, SaidItem
from api.openai.responses.wire import InputItem, MessageItem
from api.openai.responses.writer import translate_response_usage
from api.sealing import seal_text
from core.events import Event, fold_events
from core.requests import Calling, Conversation, Generation, Message, Role, TextPart

ASK: Final = (
    "This conversation is about to be cut. Write down what must be known to go on with it without what was said so "
    "far: what is wanted, what was done and decided and why, what was found out (names, paths, numbers and code word "
    "for word where they matter), and what is left to do. Write this summary and nothing else."
)
SUMMARY: Final = "What came before was cut. What must be known of it:\n\n"
MOST_KEPT_CHARACTERS: Final = 20_000
"""Of the user's messages; older ones than that are in the summary alone."""


def ask_for_summary(generation: Generation) -> Generation:
    """The request for a summary. `generation` is that for an answer; its tools stay in the prompt, so that what was
    cached of it holds."""
    conversation = generation.prompt
    assert isinstance(conversation, Conversation)
    *before, last = conversation.messages
    asked = TextPart(ASK)
    if last.role is Role.USER:
        messages = (*before, replace(last, parts=(*last.parts, asked)))
    else:
        messages = (*before, last, Message(Role.USER, (asked,)))
    return replace(
        generation,
        prompt=replace(conversation, messages=messages),
        constraint=None,
        tool_choice=Calling.NONE if conversation.tools else Calling.AUTO,
        stop=(),
    )


class CompactionDialect(WholeDialect):
    """Writes what came of one such request."""

    def __init__(self, items: Sequence[InputItem]) -> None:
        """`items` are the conversation."""
        self._items = items

    def reply(self, events: Sequence[Event]) -> bytes:
        reply = fold_events(events)
        summary = SUMMARY + reply.choices[0].text.strip()
        output: list[SaidItem | CompactedItem] = [*_keep_said(self._items)]
        output.append(CompactedItem(id=make_id("cmp"), encrypted_content=seal_text(summary)))
        return ENCODER.encode(
            CompactedResponse(
                id=make_id("resp"),
                created_at=int(time.time()),
                output=output,
                usage=translate_response_usage(reply.usage),
            )
        )


def _keep_said(items: Sequence[InputItem]) -> Iterator[SaidItem]:
    """What the user has said, the oldest first."""
    said: list[SaidItem] = []
    room = MOST_KEPT_CHARACTERS
    for item in reversed(items):
        if not isinstance(item, MessageItem) or item.role != "user":
            continue
        listed = list_item(item)
        assert isinstance(listed, SaidItem)
        room -= sum(len(part.text) for part in listed.content if isinstance(part, InputTextPart))
        if room < 0:
            break
        said.append(listed)
    return reversed(said)
