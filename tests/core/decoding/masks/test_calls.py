"""Calls of tools that no model can write wrongly."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from core.chat.parsers.family import ThinkingPhase
from core.decoding.masks.calls import CallTerms
from core.decoding.masks.compiler import MaskCompiler
from core.decoding.masks.thinking import Thinking
from core.decoding.masks.trials import FormTrials
from core.engines.echo import TURN_END, EchoTokenizer
from core.errors import RequestError
from core.requests import CallForm, CallSchema, Constraint, JsonObject, Tool
from tests.core.decoding.masks.conftest import Compile
from tests.core.decoding.masks.test_forms import ThinkingTokenizer, writes
from tests.core.decoding.masks.test_keywords import allows

CITY = '{"properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false}'
UNIQUE = '{"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": true}}}'
AHEAD = '{"type": "object", "properties": {"tag": {"type": "string", "pattern": "(?=a)"}}, "required": ["tag"]}'
FORM = CallForm(
    grammar=r"""calls: call (" " call)*
call: @mark0 (weather | clock) @mark1
weather: "{\"name\": \"weather\", \"arguments\": " @schema0 "}"
clock: "{\"name\": \"clock\", \"arguments\": " @schema1 "}"
""",
    marks=("<call>", "</call>"),
    schemas=(CallSchema("weather", CITY), CallSchema("clock", '{"properties": {}, "additionalProperties": false}')),
)
WEATHER = '<call>{"name": "weather", "arguments": {"city": "Bonn"}}</call>'
CLOCK = '<call>{"name": "clock", "arguments": {}}</call>'


@pytest.mark.parametrize(
    ("changes", "good", "bad"),
    [
        ({}, [WEATHER, f"{WEATHER} {CLOCK}"], ["", "Hello", CLOCK.replace("{}", '{"a": 1}'), f"{CLOCK} "]),
        ({"otherwise": JsonObject()}, ['{"a": 1}', CLOCK], ["Hello", f"{{}}{CLOCK}"]),
    ],
    ids=["calls alone", "or an answer"],
)
def test_a_list_of_tools_lets_through_its_calls_alone(
    changes: dict[str, object], good: list[str], bad: list[str], compiled: Compile
) -> None:
    mask = compiled(replace(FORM, **changes))
    assert [text for text in good if not writes(mask.copy(), text)] == []
    assert [text for text in bad if writes(mask.copy(), text)] == []


def test_a_model_may_think_before_it_calls(trials: FormTrials) -> None:
    compiler = MaskCompiler(ThinkingTokenizer(), trials)
    mask = compiler.compile(Constraint(FORM, "tools"), Thinking(ThinkingPhase.BEFORE, "<think>", "</think>"))
    assert writes(mask.copy(), f"<think>Which {CLOCK}?</think>\n\n{CLOCK}")
    assert writes(mask.copy(), CLOCK)
    assert not writes(mask.copy(), "<think>None.</think> None.")


def test_the_marks_of_calls_may_be_or_hold_control_tokens(trials: FormTrials) -> None:
    form = replace(FORM, marks=("[THINK]", "!<|im_start|>"))
    mask = MaskCompiler(ThinkingTokenizer(), trials).compile(Constraint(form, "tools"))
    for token in (256, *b'{"name": "clock", "arguments": {}}!', 256):
        assert allows(mask.follow(())[1][0], token)
        mask.take(token)
    assert allows(mask.follow(())[1][0], TURN_END)
    assert not allows(mask.follow(())[1][0], ord("x"))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (UNIQUE, "In the tool `odd`: The schema's keyword `uniqueItems` at properties.tags cannot be enforced"),
        (AHEAD, "In the tool `odd`: The schema cannot be enforced: `pattern`"),
        ('{"type": "string"}', "In the tool `odd`: Its arguments are one object"),
        ("5", "In the tool `odd`: The schema must be a JSON object"),
    ],
)
def test_a_tool_whose_schema_no_mask_enforces_is_named_or_taken_loosely(
    schema: str, words: str, compiled: Compile
) -> None:
    odd = CallSchema("odd", schema)
    with pytest.raises(RequestError, match=words):
        compiled(replace(FORM, schemas=(odd, FORM.schemas[1])))
    mask = compiled(replace(FORM, schemas=(replace(odd, firm=False), FORM.schemas[1])))
    assert writes(mask.copy(), WEATHER.replace("Bonn", "anything"))
    assert not writes(mask.copy(), WEATHER.replace("}}", "]}"))
    assert not writes(mask.copy(), CLOCK.replace("{}", '{"a": 1}'))


def test_what_a_grammar_refers_to_is_written_once() -> None:
    terms = CallTerms(frozenset({"weather"}))
    weather, clock = Tool("weather", parameters=CITY, strict=True), Tool("clock")
    grammar = f"calls: {terms.mark('<call>')} ({terms.arguments(weather)} | {terms.arguments(clock)})"
    assert terms.value(clock, {"type": "integer"}) == terms.value(clock, {"type": "integer"}) == "@schema2"
    assert (terms.mark("<call>"), terms.arguments(weather)) == ("@mark0", "@schema0")
    assert terms.make_form(grammar, JsonObject()) == CallForm(
        "calls: @mark0 (@schema0 | @schema1)",
        ("<call>",),
        (
            CallSchema("weather", CITY),
            CallSchema("clock", "{}", firm=False),
            CallSchema("clock", '{"type":"integer"}', whole=False, firm=False),
        ),
        otherwise=JsonObject(),
    )


def test_ten_thousand_tools_that_take_too_long_are_refused() -> None:
    many = 10_000
    rules = "\n".join(f'n{i}: "{{\\"name\\": \\"tool{i}\\", \\"arguments\\": " @schema{i} "}}"' for i in range(many))
    grammar = f"calls: call @mark0\ncall: {' | '.join(f'n{i}' for i in range(many))}\n{rules}\n"
    schemas = tuple(
        CallSchema(f"tool{i}", json.dumps({"properties": {f"argument{i}": {"type": "integer"}}})) for i in range(many)
    )
    trials = FormTrials(seconds=0.3)
    try:
        compiler = MaskCompiler(EchoTokenizer(), trials)
        with pytest.raises(RequestError, match="`tools` cannot be used. Compiling it"):
            compiler.compile(Constraint(CallForm(grammar, ("</call>",), schemas), "tools"))
    finally:
        trials.close()
