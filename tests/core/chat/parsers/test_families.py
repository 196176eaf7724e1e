"""What models of each family write, and what their clients are told of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.chat.answer import FAULTY
from core.chat.parsers.family import ChatFamily, ThinkingPhase
from core.chat.parsers.registry import choose_family
from core.events import CallArguments, CallBegun, CallEnded, Event, FinishReason
from tests.core.chat.parsers.examples import (
    APERTUS,
    EXAMPLES,
    GEMMA,
    GLM,
    HARMONY,
    HERMES,
    LFM,
    LLAMA,
    MINIMAX_TREES,
    MISTRAL_NAMED,
    QWEN_CODER,
    TOOLS,
    Written,
    tree,
    tree_call,
)
from tests.fakes.answers import ReadAnswer, cut_text, join_deltas, read_events, read_pieces


def family_of(template: str) -> ChatFamily:
    family = choose_family(template)
    assert family is not None
    return family


def read(written: Written, pieces: list[str]) -> ReadAnswer:
    return read_pieces(family_of(written.template), pieces, TOOLS, phase=written.phase, reason=written.reason)


def tell(written: Written, pieces: list[str]) -> tuple[list[Event], list[str]]:
    """What is told in what order, however it is divided."""
    events, notes = read_events(family_of(written.template), pieces, TOOLS, phase=written.phase, reason=written.reason)
    return join_deltas(events), notes


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_answer_is_told_as_words_thoughts_and_calls(example: Written) -> None:
    assert read(example, [example.text]) == example.read


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_it_is_told_the_same_however_it_is_cut(example: Written) -> None:
    for size in (1, 2, 3, 5, 7, 11):
        assert read(example, cut_text(example.text, size)) == example.read


TEMPLATES = sorted({example.template for example in EXAMPLES.values()})
DAMAGES = "<>{}[]\"'\\,:=| \na\ud800"
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
    assert tell(written, pieces) == tell(written, [text])


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(sorted(EXAMPLES)),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 8), st.text(DAMAGES, max_size=3)), max_size=4),
)
def test_a_damaged_answer_is_read_alike_in_any_pieces(name: str, damages: list[tuple[int, int, str]]) -> None:
    example = EXAMPLES[name]
    text = example.text
    for at, gone, instead in damages:
        text = f"{text[:at]}{instead}{text[at + gone :]}"
    changed = replace(example, text=text)
    events, notes = tell(changed, [text])
    assert tell(changed, list(text)) == (events, notes)
    assert FAULTY not in notes


LONG = "line of the file, "
STREAMED = {
    "hermes": (HERMES, '<tool_call>{"name": "write_file", "arguments": {"text": "', '"}}</tool_call>'),
    "mistral": (MISTRAL_NAMED, '[TOOL_CALLS]write_file[ARGS]{"text": "', '"}'),
    "llama": (LLAMA, '{"name": "write_file", "parameters": {"text": "', '"}}'),
    "harmony": (HARMONY, '<|channel|>commentary to=functions.write_file<|message|>{"text": "', '"}<|call|>'),
    "generic": ("{{ tools }}", '<tool_call>{"name": "write_file", "arguments": {"text": "', '"}}</tool_call>'),
    "apertus": (APERTUS, '<|tools_prefix|>[{"write_file": {"text": "', '"}}]<|tools_suffix|>'),
    "qwen-coder": (
        QWEN_CODER,
        "<tool_call>\n<function=write_file>\n<parameter=text>\n",
        "\n</parameter>\n</function>\n</tool_call>",
    ),
    "glm": (GLM, "<tool_call>write_file\n<arg_key>text</arg_key>\n<arg_value>", "</arg_value>\n</tool_call>"),
    "minimax": (MINIMAX_TREES, *tree(tree_call("write_file", "<text>#|</text>|")).split("#")),
    "gemma": (GEMMA, '<|tool_call>call:write_file{text:<|"|>', '<|"|>}<tool_call|>'),
    "lfm": (LFM, "<|tool_call_start|>[write_file(text='", "')]<|tool_call_end|>"),
}


@pytest.mark.parametrize("name", STREAMED)
def test_a_text_in_a_call_is_told_while_it_is_written(name: str) -> None:
    template, before, after = STREAMED[name]
    events, notes = read_events(family_of(template), [before, *[LONG] * 5, after], TOOLS)
    told = [event.text for event in events if isinstance(event, CallArguments)]
    assert sum(LONG in text for text in told) >= 4
    assert [json.loads("".join(told)), notes] == [{"text": LONG * 5}, []]
    kinds = [type(event) for event in events if not isinstance(event, CallArguments)]
    assert kinds[:2] == [CallBegun, CallEnded]


@pytest.mark.parametrize("name", STREAMED)
def test_a_call_that_a_limit_cuts_ends_with_what_there_is(name: str) -> None:
    template, before, after = STREAMED[name]
    pieces = [before, LONG, after[: len(after) // 3]]
    events, notes = read_events(family_of(template), pieces, TOOLS, reason=FinishReason.LENGTH)
    told = "".join(event.text for event in events if isinstance(event, CallArguments))
    assert told.replace(" ", "").startswith(f'{{"text":"{LONG}'.replace(" ", ""))
    ended = next(event for event in events if isinstance(event, CallEnded))
    assert ended.whole == (notes == [])
