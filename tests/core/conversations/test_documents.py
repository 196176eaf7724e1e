"""Conversations as files that are read back."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.conversations.attachments import Attachment, join_message
from core.conversations.documents import export_json, export_markdown, import_document, read_document
from core.conversations.tree import AnswerCall, AnswerWriter, ConversationTree, Outcome, make_id
from core.errors import UsageError
from core.events import Finished, FinishReason, Timings, Usage
from tests.core.conversations.test_tree import MOVES, grow, said

QUESTIONS = st.one_of(
    st.text(min_size=1, max_size=30), st.sampled_from(["## You\n\nme", "<!-- x -->", "a\n\n", "# T", "-->"])
)
ANSWERS = st.one_of(st.text(max_size=30), st.sampled_from(["## You\n\nno\n", "\n\n", "<!-- answer {} -->\n"]))
TEXTS = st.lists(st.tuples(QUESTIONS, ANSWERS), min_size=1, max_size=4)
FOREIGN = ("", "just words", "{", '{"conversations": 3}', '{"conversations": [], "format": "x"}')


@settings(max_examples=40, deadline=None)
@given(MOVES)
def test_json_brings_back_all_of_a_conversation(moves: list[tuple[str, int]]) -> None:
    tree = ConversationTree(make_id(), settings='{"system":"Be brief."}')
    tree.ask("first", 0.5)
    grow(tree, moves)
    for turn in tree.turns.values():
        for answer in turn.answers:
            answer.outcome = Outcome.DONE
    assert import_document(export_json([tree, tree])) == [tree, tree]


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_markdown_brings_back_what_was_asked_and_answered_whatever_stands_there(texts: list[tuple[str, str]]) -> None:
    tree = ConversationTree(make_id(), "A title", settings='{"system":"-->"}')
    for question, text in texts:
        answer = tree.ask(question.replace("\r", ""), 2.0, AnswerWriter("gui-->de", "F16", "llamacpp")).answers[0]
        answer.pieces += [text.replace("\r", "")] if text.replace("\r", "") else []
        answer.thoughts.append("hm -- so")
        answer.calls.append(AnswerCall("c1", "now", "{}", whole=True))
        answer.end = Finished(0, FinishReason.STOP, Usage(1, 2, 3), Timings(1.0, 2.0, 3.0))
        answer.outcome = Outcome.DONE
    (back,) = import_document(export_markdown(tree, lambda _: "3 tok"))
    assert said(back) == said(tree)
    assert (back.title, back.settings, back.changed) == (tree.title, tree.settings, tree.changed)
    for here, there in zip(tree.path(), back.path(), strict=True):
        there.answer.id = here.answer.id
        assert there.answer == here.answer
        assert there.turn.asked == here.turn.asked


def test_files_in_a_message_stand_in_markdown_as_the_model_saw_them_and_are_files_again() -> None:
    tree = ConversationTree(make_id())
    turn = tree.ask("what is it?", 1.0, attachments=(Attachment("x = 1\n", "a.py", 4),))
    turn.answers[0].outcome = Outcome.DONE
    seen = join_message(turn.question, turn.attachments)
    assert seen == "a.py:\n```py\nx = 1\n```\n\nwhat is it?"
    assert seen in export_markdown(tree)
    (back,) = import_document(export_markdown(tree))
    assert [(step.turn.question, step.turn.attachments) for step in back.path()] == [("what is it?", turn.attachments)]
    assert import_document(export_json([tree])) == [tree]


def test_markdown_reads_as_a_conversation() -> None:
    tree = ConversationTree(make_id())
    answer = tree.ask("one?", 1.0, AnswerWriter("guide")).answers[0]
    answer.pieces.append("**One**.")
    seen = [line for line in export_markdown(tree, lambda _: "11 tok").splitlines() if not line.startswith("<!--")]
    assert seen == ["", "# one?", "", "## You", "", "one?", "", "## guide", "", "**One**.", "", "*11 tok*"]


def test_a_title_in_a_file_becomes_one_line_that_a_list_can_hold() -> None:
    tree = ConversationTree(make_id(), "one\n" + "x" * 9000)
    tree.ask("one?", 1.0).answers[0].outcome = Outcome.DONE
    assert [each.title for each in import_document(export_json([tree]))] == ["one " + "x" * 196]


def test_headings_that_say_who_speaks_are_a_conversation_too() -> None:
    (tree,) = import_document("# Trees\n\n## User\n\nWhat is an oak?\n\n## Assistant\n\nA tree.\n\n## User\n\nMore?\n")
    assert said(tree) == [("What is an oak?", "A tree."), ("More?", "")]
    assert tree.title == "Trees"
    assert tree.path()[0].answer.writer.model == "Assistant"


def test_a_file_is_read_with_the_mark_of_an_editor_and_one_that_is_no_text_is_told(tmp_path: Path) -> None:
    tree = ConversationTree(make_id())
    tree.ask("one?", 1.0)
    file = tmp_path / "one.md"
    file.write_bytes(codecs.BOM_UTF8 + export_markdown(tree).encode())
    (back,) = read_document(file)
    assert [step.turn.question for step in back.path()] == ["one?"]
    assert back.path()[0].answer.outcome is Outcome.CUT_OFF, "nobody writes it any more"
    for data, words in ((b"\xff\xfeo\0", "UTF-16"), (b"\xe9", "is not UTF-8"), (b"words", "cannot be imported")):
        file.write_bytes(data)
        with pytest.raises(UsageError, match=words):
            read_document(file)


@pytest.mark.parametrize("text", FOREIGN)
def test_what_holds_no_conversation_is_told_in_words_that_go_on_a_sentence(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        import_document(text)
    assert str(caught.value)[0].islower()
