"""A conversation as a tree of turns, whatever is asked, answered again, branched off and merged."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import json

from core.conversations.attachments import Attachment
from core.conversations.tree import (
    ROOT,
    TITLE_CHARACTERS,
    AnswerWriter,
    ConversationTree,
    Outcome,
    PathStep,
    make_id,
    make_title,
)
from core.events import CallArguments, CallBegun, CallEnded, ReasoningDelta, TextDelta

MOVES = st.lists(
    st.tuples(st.sampled_from(["ask", "again", "instead", "answer", "branch"]), st.integers(0, 30)), max_size=25
)


def said(tree: ConversationTree) -> list[tuple[str, str]]:
    return [(step.turn.question, step.answer.text) for step in tree.path()]


def answer(step: PathStep, text: str) -> None:
    step.answer.pieces.append(text)
    step.answer.outcome = Outcome.DONE


def grow(tree: ConversationTree, moves: list[tuple[str, int]], name: str = "") -> list[tuple[str, str]]:
    """Do the moves; every question and answer that was ever written."""
    written = []
    for number, (move, which) in enumerate(moves):
        path = tree.path()
        step = path[which % len(path)] if path else None
        if step is None or move == "ask":
            tree.ask(f"{name}q{number}", float(number + 1))
        elif move == "again":
            tree.answer_again(step.turn, float(number + 1))
        elif move == "instead":
            tree.ask_instead(step.turn, f"{name}q{number}", float(number + 1))
        elif move == "answer":
            tree.choose_answer(step.turn, step.turn.answers[which % len(step.turn.answers)])
            continue
        else:
            branches = tree.list_branches(step.turn)
            tree.choose_turn(branches[which % len(branches)])
            continue
        answer(tree.path()[-1], f"{name}a{number}")
        written.append((tree.path()[-1].turn.question, f"{name}a{number}"))
    return written


@settings(max_examples=60, deadline=None)
@given(MOVES)
def test_nothing_that_was_ever_said_is_lost_and_the_path_is_one_way_down(moves: list[tuple[str, int]]) -> None:
    tree = ConversationTree(make_id())
    written = grow(tree, moves)
    kept = [(turn.question, each.text) for turn in tree.turns.values() for each in turn.answers]
    assert sorted(kept) == sorted(written)
    before = ROOT
    for step in tree.path():
        assert step.turn.parent == before
        assert step.answer in step.turn.answers
        before = step.answer.id
    assert not any(turn.parent == before for turn in tree.turns.values())


@settings(max_examples=40, deadline=None)
@given(MOVES, MOVES, MOVES)
def test_two_programs_that_add_to_one_conversation_come_to_the_same_tree(
    first: list[tuple[str, int]], here: list[tuple[str, int]], there: list[tuple[str, int]]
) -> None:
    mine = ConversationTree(make_id())
    grow(mine, first)
    theirs = json.decode(json.encode(mine), type=ConversationTree)
    grow(mine, here, "mine ")
    grow(theirs, there, "their ")
    seen = said(mine)
    copy = json.decode(json.encode(mine), type=ConversationTree)
    mine.merge(json.decode(json.encode(theirs), type=ConversationTree))
    theirs.merge(copy)
    everything = [
        sorted((turn.parent, turn.question, each.text) for turn in tree.turns.values() for each in turn.answers)
        for tree in (mine, theirs)
    ]
    assert everything[0] == everything[1]
    assert said(mine)[: len(seen)] == seen
    assert not mine.merge(json.decode(json.encode(mine), type=ConversationTree))


def test_a_question_that_another_program_asked_behind_the_end_is_followed() -> None:
    mine = ConversationTree(make_id())
    mine.ask("one?", 1.0)
    theirs = json.decode(json.encode(mine), type=ConversationTree)
    theirs.ask("two?", 2.0)
    assert mine.merge(theirs)
    assert [question for question, _ in said(mine)] == ["one?", "two?"]


def test_an_answer_taken_for_cut_off_is_what_the_other_program_made_of_it() -> None:
    mine = ConversationTree(make_id())
    mine.ask("one?", 1.0)
    theirs = json.decode(json.encode(mine), type=ConversationTree)
    seen = mine.path()[0].answer
    seen.outcome = Outcome.CUT_OFF
    answer(theirs.path()[0], "Whole.")
    assert mine.merge(theirs)
    assert mine.path()[0].answer is seen
    assert (seen.text, seen.outcome) == ("Whole.", Outcome.DONE)


def test_what_stood_behind_an_answer_that_is_gone_is_still_there() -> None:
    tree = ConversationTree(make_id())
    first = tree.ask("one?", 1.0)
    tree.ask("two?", 2.0)
    del tree.turns[first.id]
    assert [question for question, _ in said(tree)] == ["two?"]


def test_a_copy_goes_up_to_a_turn_and_shares_nothing() -> None:
    tree = ConversationTree(make_id())
    for question in ("one?", "two?", "three?"):
        tree.ask(question, 1.0)
        answer(tree.path()[-1], question.upper())
    copy = tree.copy_until(tree.path()[1].turn, 5.0)
    assert said(copy) == [("one?", "ONE?"), ("two?", "TWO?")]
    assert copy.title == tree.title
    answer(copy.path()[1], " more")
    assert said(tree)[1] == ("two?", "TWO?")
    assert not set(copy.turns) & set(tree.turns)


def test_thoughts_and_calls_are_told_apart_from_the_answer() -> None:
    tree = ConversationTree(make_id())
    tree.ask("when?", 1.0, AnswerWriter("guide"))
    written = tree.path()[0].answer
    written.take(ReasoningDelta(0, "let me see"))
    assert written.thinking
    for event in (
        CallBegun(0, 0, "c1", "now"),
        CallArguments(0, 0, '{"a": '),
        CallArguments(0, 0, "1}"),
        CallEnded(0, 0),
    ):
        written.take(event)
    written.take(TextDelta(0, "Now."))
    assert not written.thinking
    assert [(call.name, call.arguments, call.whole) for call in written.calls] == [("now", '{"a": 1}', True)]
    assert (written.text, written.thought) == ("Now.", "let me see")


def test_a_title_is_the_first_words_of_the_question_on_one_line() -> None:
    assert make_title("  what is\n a KV cache? ") == "what is a KV cache?"
    assert make_title("word " * 40) == ("word " * 12).strip()
    assert make_title("x" * 200) == "x" * TITLE_CHARACTERS


def test_a_question_of_nothing_but_a_paste_gives_a_title_too() -> None:
    tree = ConversationTree(make_id())
    tree.ask("", 1.0, attachments=(Attachment("Traceback (most recent\ncall last):"),))
    assert tree.title == "Traceback (most recent call last):"
