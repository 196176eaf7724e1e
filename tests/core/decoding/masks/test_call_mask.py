"""Masks that let words be, and begin where a call does."""

from __future__ import annotations

import pytest

from core.chat.parsers.registry import choose_family
from core.decoding.masks.call_mask import AwaitedCalls, CallMask, build_openings
from core.decoding.masks.calls import CallTerms
from core.decoding.masks.compiler import MaskCompiler
from core.decoding.masks.trials import FormTrials
from core.engines.echo import TURN_END, EchoTokenizer
from core.errors import RequestError
from core.requests import Constraint, Tool
from tests.core.chat.parsers import examples as written
from tests.core.decoding.masks.test_calls import CLOCK, FORM
from tests.core.decoding.masks.test_keywords import allows
from tests.fakes.answers import read_pieces

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


BARE = {
    "hermes": (written.HERMES, '<think>{"name": "clock"</think>\n```json\n[{"type": "function", "name": "clock"'),
    "llama": (written.LLAMA, '<|python_tag|>{"name":"clock"'),
    "generic": ("{{ tools }}", '{"function": {"name": "clock"'),
    "harmony": (written.HARMONY, "<|channel|>commentary to=functions.clock json<|message|>"),
    "functionary": (written.FUNCTIONARY, "all\nSo.\n>>>clock\n"),
    "functionary, at once": (written.FUNCTIONARY, "clock\n"),
}
FREE = '{"name": "Ann", "at": 5} or clock'


@pytest.mark.parametrize("name", BARE)
def test_a_call_without_a_mark_is_held_to_its_schema_from_its_name_on(name: str, trials: FormTrials) -> None:
    template, text = BARE[name]
    tool = Tool("clock", "", '{"type":"object","properties":{"at":{"enum":["noon"]}},"required":["at"]}', strict=True)
    mask = await_calls(template, tool, trials)
    free = mask.copy()
    take(free, FREE)
    assert free.follow(()) == ([], ())
    take(mask, text[:-1])
    assert mask.follow(()) == ([], ())
    drafted, masks = mask.follow([*text[-1:].encode(), *b"{"])
    assert (drafted, masks) == ([], ())
    take(mask, text[-1:])
    assert mask.follow(())[1] != ()
    odd = mask.copy()
    with pytest.raises(RequestError):
        take(odd, ', "arguments": {"at": "night"}')
    family = choose_family(template)
    assert family is not None
    key = ', "parameters": ' if name == "llama" else "" if "{" not in text else ', "arguments": '
    rest = f'{key}{{"at": "noon"}}'
    take(mask, rest)
    (call,) = read_pieces(family, [text + rest], (tool,)).calls
    assert call == ("clock", '{"at": "noon"}')


@pytest.mark.parametrize("end", ["", "\n```", "\n</tool_call>"])
@pytest.mark.parametrize("begin", ["", "So:\n", "So:\n{", "```json\n", "So:\n```json\n", "<tool_call>\n"])
def test_a_call_laid_out_on_lines_is_held_to_its_schema_and_ends_as_the_model_likes(
    begin: str, end: str, trials: FormTrials
) -> None:
    at = '{"type":"object","properties":{"at":{"enum":["noon"]}},"additionalProperties":false}'
    tool = Tool("clock", "", at)
    mask = await_calls(written.HERMES, tool, trials)
    text = f'{begin}{{\n  "name": "clock",\n  "arguments": {{\n    "at": "'
    take(mask, text)
    with pytest.raises(RequestError):
        take(mask.copy(), "night")
    with pytest.raises(RequestError):
        take(mask.copy(), 'noon",\n    "by": 1')
    rest = f'noon"\n  }}\n}}{end}'
    take(mask, rest)
    (behind,) = mask.follow(())[1]
    assert allows(behind, TURN_END)
    family = choose_family(written.HERMES)
    assert family is not None
    (call,) = read_pieces(family, [text + rest], (tool,)).calls
    assert call == ("clock", '{\n    "at": "noon"\n  }')


def test_what_ends_all_calls_of_a_frame_is_written_once(trials: FormTrials) -> None:
    tool = Tool("clock", "", '{"type":"object","properties":{"at":{"enum":["noon"]}}}')
    mask = await_calls(written.MINIMAX_LINES, tool, trials)
    take(mask, '<tool_calls>\n{"name": "clock",\n  "arguments": {"at": "noon"}}\n</tool_calls>')
    (behind,) = mask.follow(())[1]
    assert allows(behind, TURN_END)


def await_calls(template: str, tool: Tool, trials: FormTrials) -> CallMask:
    family = choose_family(template)
    assert family is not None
    assert family.calls is not None
    tokenizer = EchoTokenizer()
    terms = CallTerms(frozenset({tool.name}), loose=True)
    form = terms.make_form(family.calls.write_grammar((tool,), terms, several=False))
    thought = family.thought
    awaited = AwaitedCalls(
        tuple(begin.encode() for begin in family.calls.begins),
        (thought.begin.encode(), thought.end.encode()) if thought is not None else None,
        False,
        tokenizer.piece,
        lambda text: tokenizer.encode(text, special=True),
        build_openings(family.calls.openings, (tool,)),
    )
    return CallMask(MaskCompiler(tokenizer, trials).compile(Constraint(form, "tools")), awaited)
