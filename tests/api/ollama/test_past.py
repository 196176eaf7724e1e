"""The conversation as numbers: whatever was said comes back, and nothing else is taken for it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ollama.past import MOST_MESSAGES, decode_past, encode_past
from core.errors import RequestError
from core.requests import Message, Role, TextPart

messages = st.lists(
    st.builds(
        Message,
        st.sampled_from([Role.SYSTEM, Role.USER, Role.ASSISTANT]),
        st.text(max_size=200).map(lambda text: (TextPart(text),)),
    ),
    max_size=8,
)


@given(messages)
def test_what_was_said_comes_back_from_small_whole_numbers(said: list[Message]) -> None:
    numbers = encode_past(said)
    assert all(0 <= number < 2**32 for number in numbers)
    assert decode_past(numbers) == tuple(said)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_other_numbers_are_refused(numbers: list[int]) -> None:
    with pytest.raises(RequestError):
        decode_past(numbers)


@given(messages, st.data())
def test_changed_numbers_are_refused(said: list[Message], data: st.DataObject) -> None:
    numbers = encode_past(said)
    at = data.draw(st.integers(0, len(numbers) - 1))
    other = data.draw(st.integers(0, 2**32 - 1).filter(lambda number: number != numbers[at]))
    changed = [*numbers[:at], other, *numbers[at + 1 :]]
    with suppress(RequestError):
        assert decode_past(changed) == tuple(said)


def test_more_messages_than_a_request_may_have_are_refused() -> None:
    numbers = encode_past([Message(Role.USER, (TextPart(""),))] * (MOST_MESSAGES + 1))
    assert len(numbers) < 1000
    with pytest.raises(RequestError):
        decode_past(numbers)
