"""What agents tell anew with each request goes from prompts, in the exact forms that they write, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat.counters import drop_counters
from core.requests import Conversation, Message, Role, TextPart

HEADER = "x-anthropic-billing-header: cc_version=2.1.197.c5f; cc_entrypoint=sdk-cli;"
LONG_HEADER = "x-anthropic-billing-header: cc_version=2.1.197.c5f; cc_entrypoint=cli; cch=5f0a1; cc_is_subagent=true;"
TOTAL = "<total_tokens>122687 tokens left</total_tokens>"
USAGE = "Token usage: 77313/180000; 102687 remaining"
OUTPUT = "Output tokens — turn: 1.2k / 20k · session: 31,400"
SAID = Message(Role.USER, (TextPart("Go on."),))


def system(*texts: str) -> Message:
    return Message(Role.SYSTEM, tuple(map(TextPart, texts)))


def clean(*messages: Message) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    conversation, notes = drop_counters(Conversation((*messages, SAID)))
    return conversation.messages[:-1], notes


@pytest.mark.parametrize("header", [HEADER, LONG_HEADER, "x-anthropic-billing-header: cch=1a2b;"])
def test_a_billing_header_goes_as_a_block_and_as_the_first_line(header: str) -> None:
    left, notes = clean(system(header, "Be kind."))
    assert left == (system("Be kind."),)
    assert notes == ("Left out of the prompt, since it differs with each request: a billing header.",)
    assert clean(system(f"{header}\nBe kind."))[0] == (system("Be kind."),)
    assert clean(system(header))[0] == ()


def test_counts_go_from_the_end_of_what_the_system_says_and_from_the_middle() -> None:
    left, notes = clean(system(f"\nBe brief.\n\n{TOTAL}"), system(f"Agents:\n- one\n\n{USAGE}"))
    assert left == (system("\nBe brief."), system("Agents:\n- one"))
    assert notes == ("Left out of the prompt, since it differs with each request: 2 counts of tokens.",)
    assert clean(system(f"One.\n\n{OUTPUT}\n\nTwo."))[0] == (system("One.\n\nTwo."),)


def test_a_message_that_is_counts_alone_goes_as_a_whole() -> None:
    left, notes = clean(system("Be brief."), SAID, system(f"{TOTAL}\n\n{USAGE}"))
    assert left == (system("Be brief."), SAID)
    assert "2 counts of tokens" in notes[0]
    infinite = "<total_tokens>Infinite tokens left</total_tokens>"
    assert clean(system(infinite))[0] == ()


@pytest.mark.parametrize("count", [TOTAL, USAGE, OUTPUT])
def test_a_reminder_in_a_block_of_its_own_goes_from_what_the_user_says(count: str) -> None:
    reminder = f"<system-reminder>\n{count}\n</system-reminder>"
    said = Message(Role.USER, (TextPart(f"{reminder}\n"), TextPart("Go on.")))
    assert clean(said)[0] == (Message(Role.USER, (TextPart("Go on."),)),)


KEPT = [
    Message(Role.USER, (TextPart(HEADER),)),
    Message(Role.USER, (TextPart(TOTAL),)),
    Message(Role.USER, (TextPart(f"Why does it say\n\n{USAGE}\n\nat the end?"),)),
    Message(Role.USER, (TextPart(f"<system-reminder>\n{USAGE}\n</system-reminder>\nWhat is that?"),)),
    Message(Role.USER, (TextPart("<system-reminder>\nToday's date is 2026-11-27.\n</system-reminder>"),)),
    Message(Role.ASSISTANT, (TextPart(USAGE),)),
    Message(Role.TOOL, (TextPart(f"{HEADER}\n\n{TOTAL}\n\n{USAGE}"),), tool_call_id="c"),
    system(f"Never begin a line with {HEADER}"),
    system(f"Explain what {USAGE} means."),
    system("x-anthropic-billing-header: what is that?"),
    system(f"One.\n{USAGE}\nTwo."),
    system("Token usage: high"),
]


@pytest.mark.parametrize("message", KEPT, ids=lambda each: f"{each.role.value}: {each.text[:30]!r}")
def test_whatever_is_not_exactly_that_stays(message: Message) -> None:
    conversation = Conversation((message, SAID))
    left, notes = drop_counters(conversation)
    assert left is conversation
    assert notes == ()


def test_a_conversation_is_never_left_empty() -> None:
    conversation = Conversation((system(HEADER),))
    assert drop_counters(conversation) == (conversation, ())


@given(st.lists(st.text(st.sampled_from("a\n <>:;/")), max_size=4))
def test_words_around_a_count_stay_as_they_are(texts: list[str]) -> None:
    spoken = [text for text in texts if text.strip()]
    left, _ = clean(system(HEADER, *spoken))
    assert left == ((system(*spoken),) if spoken else ())
