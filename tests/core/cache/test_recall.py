"""Why a prompt was computed again: what a request is told of the conversations that went before it."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from core.cache.identity import ModelIdentity, digest_owner
from core.cache.recall import MOST_CONVERSATIONS, MOST_TOKENS, Asked, Outline, Partition, Recall, outline_request
from core.decoding.common_prefix import count_common
from core.requests import Conversation, Generation, Message, RawText, Role, TextPart, Tool
from core.reuse import Cause, Departure, Reuse, Tier
from tests.fakes.prefixes import IDENTITY, OWNER

PARTITION: Partition = (IDENTITY, OWNER)
TEMPLATE = "{{ messages }}"


def words(tokens: Sequence[int]) -> str:
    return bytes(tokens).decode()


def message(role: Role, text: str) -> Message:
    return Message(role, (TextPart(text),))


def chat(*said: str, system: str = "Be brief, and be right in all you say.", tools: tuple[str, ...] = ()) -> Generation:
    """A system prompt, and turns of the user and the assistant."""
    roles = [Role.USER, Role.ASSISTANT] * len(said)
    turns = [message(role, text) for role, text in zip(roles, said, strict=False)]
    prompt = Conversation((message(Role.SYSTEM, system), *turns), tools=tuple(Tool(name) for name in tools))
    return Generation("guide", prompt)


def rendered(request: Generation) -> tuple[int, ...]:
    assert isinstance(request.prompt, Conversation)
    tools = "".join(f"[{tool.name}]" for tool in request.prompt.tools)
    return tuple((tools + "".join(f"<{each.role.value}>{each.text}" for each in request.prompt.messages)).encode())


def asked(request: Generation, reused: int = 0, template: str = TEMPLATE, cache: bool = True) -> Asked:
    tier = Tier.RESIDENT if reused else None
    return Asked(rendered(request), outline_request(request, template), reused, tier, cache)


def knowing(request: Generation, answer: str = "") -> Recall:
    recall = Recall()
    prompt = rendered(request)
    recall.remember(PARTITION, prompt + tuple(answer.encode()), len(prompt), outline_request(request, TEMPLATE))
    return recall


FIRST = chat("What is a KV cache, and who needs it?")
ANSWER = "<assistant>It keeps keys and values."


def test_the_first_of_its_kind_is_first_seen() -> None:
    found = Recall().explain(PARTITION, asked(FIRST), words)
    assert found == Reuse(cause=Cause.FIRST_SEEN, lost=len(rendered(FIRST)))


def test_a_conversation_that_goes_on_has_nothing_to_explain() -> None:
    going_on = chat("What is a KV cache, and who needs it?", "It keeps keys and values.", "Why?")
    reused = len(rendered(FIRST)) + len(ANSWER)
    found = knowing(FIRST, ANSWER).explain(PARTITION, asked(going_on, reused), words)
    assert found == Reuse(reused, Tier.RESIDENT)


@pytest.mark.parametrize(
    ("request_", "cause"),
    [
        (chat("What is a KV cache, and who needs it?", system="Be long, and be wrong."), Cause.SYSTEM_CHANGED),
        (chat("What is a KV cache, and who needs it?", tools=("search",)), Cause.TOOLS_CHANGED),
        (chat("Something else altogether?"), Cause.FIRST_SEEN),
        (chat("What is a KV cache, and who needs it?", "It keeps nothing.", "Why?"), Cause.HISTORY_EDITED),
    ],
    ids=["system", "tools", "another conversation", "answer"],
)
def test_what_was_changed_is_named(request_: Generation, cause: Cause) -> None:
    common = count_common((*rendered(FIRST), *ANSWER.encode()), rendered(request_))
    found = knowing(FIRST, ANSWER).explain(PARTITION, asked(request_, common), words)
    assert found.cause is cause
    assert found.departure is not None
    assert found.departure.token == common


def test_a_question_that_was_edited_is_an_edited_history() -> None:
    long = chat("What is a KV cache?", "It keeps keys.", "Why not the words themselves?")
    edited = chat("What is a KV cache?", "It keeps keys.", "Why not the files themselves?")
    common = rendered(long).index(b"words"[0], 80)
    found = knowing(long).explain(PARTITION, asked(edited, reused=common), words)
    assert (found.cause, found.tokens) == (Cause.HISTORY_EDITED, common)


def test_the_departure_shows_both_texts() -> None:
    edited = chat("What is a KV cache, and who wants it?")
    start = rendered(FIRST).index(b"needs"[0], 70)
    found = knowing(FIRST).explain(PARTITION, asked(edited, start), words)
    assert found.departure == Departure(found.departure.token if found.departure else 0, "needs it?", "wants it?")


def test_reasoning_that_was_not_sent_back_is_named() -> None:
    known = knowing(FIRST, "<assistant><think>Keys, I suppose.</think>It keeps keys and values.")
    going_on = chat("What is a KV cache, and who needs it?", "It keeps keys and values.", "Why?")
    reused = len(rendered(FIRST)) + len("<assistant>")
    assert known.explain(PARTITION, asked(going_on, reused), words).cause is Cause.REASONING_STRIPPED


def test_another_template_is_named() -> None:
    again = replace(asked(FIRST, 70, "other"), tokens=(*rendered(FIRST)[:70], 33, 33))
    assert knowing(FIRST).explain(PARTITION, again, words).cause is Cause.TEMPLATE_CHANGED


def test_what_had_to_make_room_says_for_what() -> None:
    recall = knowing(FIRST)
    recall.note_gone(PARTITION, rendered(FIRST), "--cache-size")
    found = recall.explain(PARTITION, asked(FIRST), words)
    assert (found.cause, found.detail, found.lost) == (Cause.EVICTED, "--cache-size", len(rendered(FIRST)))


def test_what_came_back_has_made_no_room() -> None:
    recall = knowing(FIRST)
    recall.note_gone(PARTITION, rendered(FIRST), "--cache-size")
    recall.remember(PARTITION, rendered(FIRST), 0, Outline())
    assert recall.explain(PARTITION, asked(FIRST, len(rendered(FIRST)) - 1), words).cause is None


def test_other_tenants_adapters_and_settings_are_told_apart() -> None:
    recall = knowing(FIRST)
    tenant = (IDENTITY, digest_owner("another", None))
    assert recall.explain(tenant, asked(FIRST), words).cause is Cause.OTHER_TENANT
    adapted = (replace(IDENTITY, adapters="lora"), OWNER)
    assert recall.explain(adapted, asked(FIRST), words).cause is Cause.ADAPTER_CHANGED
    wider = (replace(IDENTITY, settings="context 8192, f16"), OWNER)
    assert recall.explain(wider, asked(FIRST), words).cause is Cause.EVICTED
    unlike: Partition = (ModelIdentity("others", "llamacpp", "1", ""), OWNER)
    assert Recall().explain(unlike, asked(FIRST), words).cause is Cause.FIRST_SEEN


def test_who_wants_no_cache_is_told_so() -> None:
    found = knowing(FIRST).explain(PARTITION, asked(FIRST, cache=False), words)
    assert found == Reuse(cause=Cause.NO_CACHE_ASKED, lost=len(rendered(FIRST)))


def test_raw_prompts_are_known_by_their_tokens() -> None:
    raw = Generation("guide", RawText("x"))
    recall = Recall()
    known, prompt = tuple(b"The quick brown fox jumps over the dog"), tuple(b"The quick brown fox jumps over the cat")
    recall.remember(PARTITION, known, len(known), outline_request(raw, TEMPLATE))
    same = Asked(prompt, outline_request(raw, TEMPLATE), 35, Tier.MEMORY, True)
    assert recall.explain(PARTITION, same, words).cause is Cause.HISTORY_EDITED
    other = Asked(tuple(b"Something else"), outline_request(raw, TEMPLATE), 0, None, True)
    assert recall.explain(PARTITION, other, words).cause is Cause.FIRST_SEEN


def test_only_so_many_conversations_are_remembered() -> None:
    recall = Recall()
    for number in range(MOST_CONVERSATIONS + 10):
        recall.remember(PARTITION, (number, *range(40)), 0, Outline())
    first = Asked((0, *range(40)), Outline(), 0, None, True)
    last = Asked((MOST_CONVERSATIONS + 9, *range(40)), Outline(), 0, None, True)
    assert recall.explain(PARTITION, first, words).cause is Cause.FIRST_SEEN
    assert recall.explain(PARTITION, last, words).cause is Cause.EVICTED


def test_long_conversations_are_remembered_as_far_as_their_tokens_take_no_more_than_their_share() -> None:
    recall = Recall()
    long = MOST_TOKENS // 2
    for first in range(4):
        recall.remember(PARTITION, (first, *[0] * (long - 1)), long, Outline())
    known = [first for first in range(4) if _long_asked(recall, first, long).cause is not Cause.FIRST_SEEN]
    assert known == [2, 3]
    recall.remember(PARTITION, (9, *[0] * MOST_TOKENS), MOST_TOKENS, Outline())
    assert _long_asked(recall, 9, MOST_TOKENS).cause is Cause.EVICTED


def _long_asked(recall: Recall, first: int, length: int) -> Reuse:
    asked = Asked((first, *[0] * (length - 1)), Outline(), 0, None, True)
    return recall.explain(PARTITION, asked, lambda tokens: "")
