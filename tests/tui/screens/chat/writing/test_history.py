"""Walking through earlier messages, apart from any widget."""

from __future__ import annotations

from tui.screens.chat.writing.history import MessageHistory


def test_the_walk_goes_to_the_oldest_message_and_back_to_the_draft() -> None:
    history = MessageHistory(["one", "two"])
    assert [history.go_back(text) for text in ("draft", "two", "one")] == ["two", "one", None]
    assert [history.go_on(text) for text in ("one", "two", "draft")] == ["two", "draft", None]


def test_what_was_changed_on_the_way_stays_until_a_message_is_sent() -> None:
    history = MessageHistory(["one", "two"])
    history.go_back("")
    history.go_back("two!")
    assert history.go_on("one") == "two!"
    history.add("two!")
    assert history.messages == ("one", "two", "two!")
    assert [history.go_back(""), history.go_back("two!")] == ["two!", "two"]


def test_a_message_sent_twice_stands_there_once_and_older_ones_come_before_it() -> None:
    history = MessageHistory()
    history.add("two")
    history.add("two")
    history.put_before(["one", " ", "two"])
    assert history.messages == ("one", "two")


def test_messages_of_the_conversation_that_is_opened_come_first() -> None:
    history = MessageHistory(["one", "two", "three"])
    history.bring_to_end(["one", "four"])
    assert history.messages == ("two", "three", "one", "four")


def test_a_draft_that_was_left_for_an_earlier_message_stays_whatever_messages_come() -> None:
    history = MessageHistory(["one", "two"])
    assert history.go_back("draft") == "two"
    history.put_before(["zero"])
    history.bring_to_end(["one"])
    assert history.messages == ("zero", "two", "one")
    assert [history.go_on("two"), history.go_on("one"), history.go_on("draft")] == ["one", "draft", None]
