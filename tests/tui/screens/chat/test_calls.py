"""What a tool is asked, as it is shown."""

from __future__ import annotations

from core.conversations.tree import AnswerCall
from tui.screens.chat.calls import MOST_SHOWN_CHARACTERS, describe_arguments


def test_whole_arguments_are_a_line_each_and_others_as_they_were_written() -> None:
    written = '{"place": "Ulm [red]", "days": [1, 2]}'
    assert describe_arguments(AnswerCall("1", "weather", written, whole=True)) == "place: Ulm [red]\ndays: [1, 2]"
    assert describe_arguments(AnswerCall("1", "weather", written[:9])) == '{"place":'
    assert len(describe_arguments(AnswerCall("1", "weather", written * 100))) == MOST_SHOWN_CHARACTERS
    assert describe_arguments(AnswerCall("1", "weather", written[:9], whole=False)) == '{"place":'
    assert describe_arguments(AnswerCall("1", "now", "{}", whole=True)) == "no arguments"
