"""Answers read by a response schema."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.chat.parsers.family import ThinkingPhase, ThoughtMarks
from core.chat.parsers.response_schema import TOO_LONG, UNFIT, ResponseSchema, SchemaFamily, SchemaUnfit
from core.events import FinishReason
from core.requests import Tool
from tests.fakes.answers import ReadAnswer, read_pieces

HERMES = {
    "type": "object",
    "properties": {
        "role": {"const": "assistant"},
        "thinking": {"type": "string", "x-regex": r"<think>\n?(.*?)\n?</think>"},
        "content": {"type": "string", "x-regex": r"^(?:<think>.*?</think>\s*)?(.+?)(?=\s*<tool_call>|\Z)"},
        "tool_calls": {
            "type": "array",
            "x-regex-iterator": r"<tool_call>(.*?)</tool_call>",
            "items": {
                "type": "object",
                "x-parser": "json",
                "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
            },
        },
    },
    "required": ["role"],
}
TAGS = {
    "type": "object",
    "properties": {
        "content": {"type": "string", "x-regex": r"^([^<]+)"},
        "tool_calls": {
            "type": "array",
            "x-regex-iterator": r"<call (?P<name>\w+)>(?P<arguments>.*?)</call>",
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "arguments": {
                        "type": "object",
                        "x-regex-key-value": r"<(?P<key>\w+)>(?P<value>.*?)</\1>",
                        "properties": {"days": {"type": "integer"}},
                        "additionalProperties": {"type": "string"},
                    },
                },
            },
        },
    },
}
TOOL = Tool("get_weather", "", '{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}}')


def family(schema: object) -> SchemaFamily:
    return SchemaFamily("schema", ThoughtMarks("<think>", "</think>"), schema=ResponseSchema(json.dumps(schema)))


def test_patterns_find_thoughts_words_and_calls() -> None:
    text = '<think>\nhm\n</think>\nSo.\n<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
    told = ReadAnswer("So.", "hm", (("get_weather", '{"city":"Paris"}'),), (), FinishReason.TOOL_CALLS)
    assert read_pieces(family(HERMES), [text], [TOOL]) == told
    assert read_pieces(family(HERMES), list(text), [TOOL]) == told


def test_a_thought_that_the_prompt_began_is_whole() -> None:
    told = read_pieces(family(HERMES), ["hm</think>So."], [TOOL], phase=ThinkingPhase.INSIDE)
    assert (told.thought, told.said) == ("hm", "So.")


def test_members_are_found_by_key_and_value() -> None:
    text = "So.<call get_weather><days>2</days><city>Paris</city></call><call rm></call>"
    told = read_pieces(family(TAGS), [text], [TOOL])
    assert told.calls == (("get_weather", '{"days":2,"city":"Paris"}'),)
    assert told.said == "So.rm({})"


@pytest.mark.parametrize("text", ["<tool_call>{oops</tool_call>", '<tool_call>["a"]</tool_call>'])
def test_what_does_not_fit_is_text(text: str) -> None:
    assert read_pieces(family(HERMES), [text], [TOOL]) == ReadAnswer(text, notes=(UNFIT,))


def test_patterns_that_take_for_ever_are_ended() -> None:
    schema = {"type": "object", "properties": {"content": {"type": "string", "x-regex": "^(?:a|a)*$"}}}
    text = "a" * 64 + "b"
    assert read_pieces(family(schema), [text]) == ReadAnswer(text, notes=(TOO_LONG,))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("[]", "cannot be read"),
        ('{"x-regex": "("}', "A pattern of the response schema cannot be read"),
        ('{"x-regex-key-value": "(a)"}', "no groups named `key` and `value`"),
        ('{"x-parser": "xml"}', "wants the parser 'xml'"),
        ('{"x-parser": "json", "x-parser-args": {"transform": "a"}}', "transformed"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: str, words: str) -> None:
    with pytest.raises(SchemaUnfit, match=words):
        ResponseSchema(schema)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(["<think>", "</think>", "<tool_call>", "</tool_call>", "{", "}", '"name"', ":", "a"])))
def test_no_text_is_too_much_for_a_schema(scraps: list[str]) -> None:
    text = "".join(scraps)
    assert read_pieces(family(HERMES), [text], [TOOL]) == read_pieces(family(HERMES), list(text), [TOOL])
