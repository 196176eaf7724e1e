"""Masks that let words be, and begin where a call does."""

from __future__ import annotations

import pytest

from core.decoding.masks.call_mask import AwaitedCalls, CallMask
from core.decoding.masks.compiler import MaskCompiler
from core.decoding.masks.trials import FormTrials
from core.engines.echo import TURN_END, EchoTokenizer
from core.errors import RequestError
from core.requests import Constraint
from tests.core.decoding.masks.test_calls import CLOCK, FORM
from tests.core.decoding.masks.test_keywords import allows

THOUGHT = (b"<think>", b"</think>")


def begin_mask(trials: FormTrials, *, thinking: bool = False) -> CallMask:
    tokenizer = EchoTokenizer()
    awaited = AwaitedCalls(
        (b"<call>",), THOUGHT, thinking, tokenizer.piece, lambda text: tokenizer.encode(text, special=True)
    )
    return CallMask(MaskCompiler(tokenizer, trials).compile(Constraint(FORM, "tools")), awaited)


def take(mask: CallMask, text: str) -> None:
    for byte in text.encode():
        mask.take(byte)


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ("Let me see <cal", False),
        ("Let me see. <call>", True),
        ("<think>Which <call>?", False),
        ("\n<think>Which <call>?</think> <call>", True),
        ("Words. <think> <call>", True),
        ("<call>", True),
    ],
)
def test_anything_may_be_written_up_to_where_a_call_begins(text: str, begun: bool, trials: FormTrials) -> None:
    mask = begin_mask(trials)
    assert mask.follow(()) == ([], ())
    take(mask, text)
    assert bool(mask.follow(())[1]) is begun
    assert not mask.complete


def test_a_thought_that_the_prompt_began_calls_nothing(trials: FormTrials) -> None:
    mask = begin_mask(trials, thinking=True)
    take(mask, "Is it <call>?")
    assert mask.follow(())[1] == ()
    take(mask, "</think><call>")
    assert mask.follow(())[1] != ()


def test_behind_its_beginning_a_call_keeps_to_its_form_and_the_end_or_another_call_follows(trials: FormTrials) -> None:
    mask = begin_mask(trials)
    take(mask, "Well. <call>")
    (first,) = mask.follow(())[1]
    assert [byte for byte in range(256) if allows(first, byte)] == [ord("{")]
    with pytest.raises(RequestError, match="`tools`"):
        mask.copy().take(ord("x"))
    take(mask, CLOCK.removeprefix("<call>"))
    (behind,) = mask.follow(())[1]
    assert [token for token in range(258) if allows(behind, token)] == [ord(" "), TURN_END]


def test_guesses_end_before_a_call_begins_since_what_follows_is_drawn_under_a_mask(trials: FormTrials) -> None:
    mask = begin_mask(trials)
    assert mask.follow(list(b"a <call>{")) == ([*b"a <call"], ())
    take(mask, "a <call")
    assert mask.follow(list(b">{")) == ([], ())
    take(mask, ">")
    kept, masks = mask.follow(list(b'{"nope'))
    assert (bytes(kept), len(masks)) == (b'{"n', 4)


def test_a_token_that_reaches_into_a_call_that_is_none_leaves_it_to_its_reader(trials: FormTrials) -> None:
    mask = begin_mask(trials)
    take(mask, "<call")
    shown = AwaitedCalls((b"<call>",), None, False, lambda _: b">oops", lambda text: list(text.encode()))
    odd = CallMask(mask._calls, shown)
    odd._tail = b"<call"
    odd.take(0)
    odd.take(0)
    assert (odd.follow([1]), odd.complete) == (([1], ()), False)
