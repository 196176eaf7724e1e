"""What coding agents write into prompts that differs with each request and tells the model nothing of its task.

Left where it is, it parts a prompt from the one before, or from that of another session, at its very head. Only exact
forms go, as the agents write them: in what the system says, and in blocks of their own. The user's words stay, and so
does what tools have returned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from core.requests import Conversation, Message, Role, TextPart

BILLING: Final = "a billing header"
COUNTS: Final = "counts of tokens"
_BILLING: Final = re.compile(r"x-anthropic-billing-header:(?: [a-z_]+=[^;\s]*;)+[ ]*(?:\n+|\Z)")
"""Claude Code, the first block of `system`."""
_COUNT: Final = (
    r"<total_tokens>(?:Infinite|\d+) tokens left</total_tokens>"
    r"|Token usage: \d+/\d+; -?\d+ remaining"
    r"|Output tokens — turn: [\d.,]+[kKmM]?(?: / [\d.,]+[kKmM]?)? · session: [\d.,]+[kKmM]?"
)
"""Claude Code, where CLAUDE_CODE_TOTAL_TOKENS_REMINDER or CLAUDE_CODE_ENABLE_TOKEN_USAGE_ATTACHMENT is set."""
_PARAGRAPH: Final = re.compile(rf"(?:\A|\n\n)(?:{_COUNT})(?=\n\n|\s*\Z)")
_REMINDER: Final = re.compile(rf"\s*<system-reminder>\n(?:{_COUNT})\n</system-reminder>\s*")
MOST_REMINDER_CHARACTERS: Final = 200
"""Longer blocks are no such reminder."""
SYSTEM: Final = frozenset({Role.SYSTEM, Role.DEVELOPER})


def drop_counters(conversation: Conversation) -> tuple[Conversation, tuple[str, ...]]:
    """The conversation without them, and a sentence about what was left out, if anything was. The same object where
    nothing is."""
    dropped: Counter[str] = Counter()
    messages = tuple(_cleaned(conversation.messages, dropped))
    if not dropped.total() or not messages:
        return conversation, ()
    return replace(conversation, messages=messages), (_tell_dropped(dropped),)


def _cleaned(messages: tuple[Message, ...], dropped: Counter[str]) -> Iterator[Message]:
    for message in messages:
        if message.role in SYSTEM:
            parts = tuple(_clean_system(message.parts, dropped))
        elif message.role is Role.USER:
            parts = tuple(_clean_user(message.parts, dropped))
        else:
            parts = message.parts
        if parts == message.parts:
            yield message
        elif parts:
            yield replace(message, parts=parts)


def _clean_system(parts: tuple[TextPart, ...], dropped: Counter[str]) -> Iterator[TextPart]:
    for part in parts:
        text = part.text
        if text.startswith("x-anthropic-"):
            text, times = _BILLING.subn("", text, count=1)
            dropped[BILLING] += times
        if " tokens left</total_tokens>" in text or "Token usage: " in text or "Output tokens — " in text:
            text, times = _PARAGRAPH.subn("", text)
            dropped[COUNTS] += times
        if text == part.text:
            yield part
        elif text.strip():
            yield TextPart(text)


def _clean_user(parts: tuple[TextPart, ...], dropped: Counter[str]) -> Iterator[TextPart]:
    for part in parts:
        text = part.text
        if len(text) <= MOST_REMINDER_CHARACTERS and "<system-reminder>" in text and _REMINDER.fullmatch(text):
            dropped[COUNTS] += 1
        else:
            yield part


def _tell_dropped(dropped: Counter[str]) -> str:
    told = [BILLING] if dropped[BILLING] else []
    told += [f"{dropped[COUNTS]} {COUNTS}"] if dropped[COUNTS] else []
    return f"Left out of the prompt, since it differs with each request: {' and '.join(told)}."
