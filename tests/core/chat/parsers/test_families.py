"""What models of each family write, and what their clients are told of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.chat.parsers.registry import choose_family
from core.events import FinishReason
from core.requests import Tool
from tests.fakes.answers import Call, ReadAnswer, cut_text, read_pieces

TOOLS = (
    Tool(
        "get_weather",
        "The weather of a place.",
        '{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}',
    ),
    Tool("write_file", "", '{"type":"object","properties":{"path":{"type":"string"},"text":{"type":"string"}}}'),
    Tool("now", "", '{"type":"object","properties":{}}'),
)
HERMES = "{% if tools %}<tool_call>{% endif %}<think></think>"


class Written(Struct, frozen=True):
    """A text, and what is to come of it."""

    template: str
    text: str
    read: ReadAnswer
    phase: ThinkingPhase = ThinkingPhase.BEFORE
    reason: FinishReason = FinishReason.STOP


def called(*calls: Call, said: str = "", thought: str = "", notes: tuple[str, ...] = ()) -> ReadAnswer:
    return ReadAnswer(said, thought, calls, notes, FinishReason.TOOL_CALLS)


PARIS = ("get_weather", '{"city": "Paris"}')
ROME = ("get_weather", '{"city": "Rome"}')
EXAMPLES = {
    "hermes: words": Written(HERMES, "Hello <there>\n", ReadAnswer("Hello <there>\n")),
    "hermes: a thought": Written(HERMES, "<think>\nhm\n\nso\n</think>\n\nYes.", ReadAnswer("Yes.", "hm\n\nso")),
    "hermes: a thought that the prompt began": Written(
        HERMES, "\nhm\n</think>\n\nYes.", ReadAnswer("Yes.", "hm"), ThinkingPhase.INSIDE
    ),
    "hermes: a thought without an end": Written(
        HERMES, "hm <tool_call>", ReadAnswer("", "hm <tool_call>"), ThinkingPhase.INSIDE
    ),
    "hermes: marks of thoughts amid words": Written(
        HERMES, "Write <think> and </think>.", ReadAnswer("Write <think> and </think>.")
    ),
    "hermes: a call": Written(
        HERMES,
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        called(PARIS),
    ),
    "hermes: a call inside a thought is thought": Written(
        HERMES,
        '<think>I could <tool_call>{"name": "now"}</tool_call></think>No.',
        ReadAnswer("No.", 'I could <tool_call>{"name": "now"}</tool_call>'),
    ),
    "hermes: words around two calls": Written(
        HERMES,
        'Let me see.\n\n<tool_call>\n{"arguments": {"city": "Paris"}, "name": "get_weather"}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>\nDone.\n',
        called(PARIS, ("now", "{}"), said="Let me see.Done.\n"),
    ),
    "hermes: brackets, quotes and marks in texts": Written(
        HERMES,
        '<tool_call>{"name": "write_file", "arguments": {"path": "a}", "text": "{\\"x\\": [\\\\\\"]}</tool_call>"}}'
        "</tool_call>",
        called(("write_file", '{"path": "a}", "text": "{\\"x\\": [\\\\\\"]}</tool_call>"}')),
    ),
    "hermes: a whole float for an integer": Written(
        HERMES,
        '<tool_call>{"name": "get_weather", "arguments": {"days": 5.0, "city": "Paris"}}</tool_call>',
        called(("get_weather", '{"days":5,"city":"Paris"}')),
    ),
    "hermes: an argument of another type": Written(
        HERMES,
        '<tool_call>{"name": "get_weather", "arguments": {"city": 5}}</tool_call>',
        called(
            ("get_weather", '{"city": 5}'),
            notes=("A call of get_weather does not keep to its schema: `city` is not of type string.",),
        ),
    ),
    "hermes: lines in a text": Written(
        HERMES,
        '<tool_call>{"name": "write_file", "arguments": {"text": "a\nb"}}</tool_call>',
        called(("write_file", '{"text":"a\\nb"}')),
    ),
    "hermes: arguments as a text": Written(
        HERMES,
        '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}</tool_call>',
        called(PARIS),
    ),
    "hermes: no closing mark": Written(
        HERMES, '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}', called(PARIS)
    ),
    "hermes: an unknown tool": Written(
        HERMES,
        'So:\n<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        ReadAnswer(
            'So:\n<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
            notes=("The model called rm, which is none of the request's tools; the call is left in the text.",),
        ),
    ),
    "hermes: no JSON, and a call behind it": Written(
        HERMES,
        'Use <tool_call>oops</tool_call>\n<tool_call>{"name": "now"}</tool_call>',
        called(
            ("now", "{}"),
            said="Use <tool_call>oops</tool_call>",
            notes=("A call is not written in JSON that can be read.",),
        ),
    ),
    "hermes: cut by the limit": Written(
        HERMES,
        '<tool_call>\n{"name": "get_weather", "argum',
        ReadAnswer(
            '<tool_call>\n{"name": "get_weather", "argum',
            notes=("The answer ends in the midst of a call.",),
            reason=FinishReason.LENGTH,
        ),
        reason=FinishReason.LENGTH,
    ),
}


def family_of(template: str) -> ChatFamily:
    family = choose_family(template)
    assert family is not None
    return family


def read(written: Written, pieces: list[str]) -> ReadAnswer:
    return read_pieces(family_of(written.template), pieces, TOOLS, phase=written.phase, reason=written.reason)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_answer_is_told_as_words_thoughts_and_calls(example: Written) -> None:
    assert read(example, [example.text]) == example.read


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_it_is_told_the_same_however_it_is_cut(example: Written) -> None:
    for size in (1, 2, 3, 5, 7, 11):
        assert read(example, cut_text(example.text, size)) == example.read


TEMPLATES = sorted({example.template for example in EXAMPLES.values()})
SCRAPS = sorted({scrap for example in EXAMPLES.values() for scrap in cut_text(example.text, 9)})


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(TEMPLATES),
    st.lists(st.one_of(st.sampled_from(SCRAPS), st.text(max_size=6)), max_size=14).map("".join),
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
    st.sampled_from((ThinkingPhase.BEFORE, ThinkingPhase.INSIDE)),
    st.sampled_from((FinishReason.STOP, FinishReason.LENGTH)),
)
def test_whatever_a_model_writes_is_read_alike_in_any_pieces(
    template: str, text: str, sizes: list[int], phase: ThinkingPhase, reason: FinishReason
) -> None:
    written = Written(template, text, ReadAnswer(), phase, reason)
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    assert read(written, pieces) == read(written, [text])
