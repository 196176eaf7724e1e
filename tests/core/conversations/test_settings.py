"""Settings of a chat: what reaches the request, what differs from the model's own, what the user may write."""

from __future__ import annotations

import msgspec
import pytest

from core.conversations.settings import ChatSettings, format_stops, read_number, read_stops
from core.requests import Conversation, Generation, Message, ReasoningWish, Role, Sampling, SamplingWish, TextPart

QUESTION = Message(Role.USER, (TextPart("why?"),))
PLAIN = Generation("m", Conversation((QUESTION,)))


def test_settings_reach_sampling_thinking_length_stops_and_the_first_message() -> None:
    settings = ChatSettings(" be brief ", 0.2, 0.9, 0.1, 20, 7, 100, ("END",), "low", 50)
    asked = settings.apply(PLAIN)
    assert asked.sampling == SamplingWish(temperature=0.2, top_p=0.9, min_p=0.1, top_k=20, seed=7)
    assert (asked.max_tokens, asked.stop) == (100, ("END",))
    assert asked.reasoning == ReasoningWish(effort="low", budget=50)
    assert isinstance(asked.prompt, Conversation)
    assert asked.prompt.messages == (Message(Role.SYSTEM, (TextPart("be brief"),)), QUESTION)


def test_what_is_unset_leaves_the_request_as_it_was() -> None:
    assert ChatSettings(system=" \n").apply(PLAIN) == PLAIN


def test_only_what_differs_from_the_model_is_told() -> None:
    settings = ChatSettings("be brief", temperature=0.8, top_p=0.5, seed=7, stop=("a", "b"), effort="high")
    assert settings.list_differences(Sampling()) == ("system prompt", "top_p 0.5", "seed 7", "2 stops", "effort high")
    assert "temp 0.8" in settings.list_differences()
    assert ChatSettings().list_differences(Sampling()) == ()


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("temperature", "warm", "a number, please"),
        ("temperature", "nan", "from 0 to 100"),
        ("top_p", "1.1", "from 0 to 1"),
        ("top_k", "2.5", "a whole number, please"),
        ("max_tokens", "0", "1 or more"),
        ("seed", "9" * 30, "too large"),
    ],
)
def test_what_is_no_such_number_is_told_in_words(name: str, text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        read_number(name, text)


def test_numbers_are_read_as_people_write_them() -> None:
    assert read_number("temperature", " 0,7 ") == 0.7
    assert read_number("max_tokens", "4_096") == 4096
    assert read_number("seed", "  ") is None


def test_stop_texts_come_back_as_they_were_written() -> None:
    stops = ("\n\n", "a, b", r"\n", "END")
    assert read_stops(format_stops(stops)) == stops
    assert read_stops(r"User:, \n\n ,,") == ("User:", "\n\n ")
    with pytest.raises(ValueError, match="at most 16 texts"):
        read_stops(",".join(map(str, range(17))))


def test_settings_out_of_bounds_are_not_read_from_a_file() -> None:
    assert msgspec.json.decode(b'{"top_p": 0.5}', type=ChatSettings) == ChatSettings(top_p=0.5)
    with pytest.raises(msgspec.ValidationError, match="top_p is 7, not from 0 to 1"):
        msgspec.json.decode(b'{"top_p": 7}', type=ChatSettings)
