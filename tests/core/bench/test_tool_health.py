"""How well a model calls tools: right answers, and what is told of wrong ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import msgspec
import pytest

from core.bench.documents import ExportFormat
from core.bench.tool_cases import TOOL_CASES, ToolCase, build_schema
from core.bench.tool_health import ToolVerdict, count_score, export_verdicts, judge_answer
from core.engines.registry import Engines
from core.errors import ModelNotFound
from core.events import FinishReason, ReplyChoice
from core.requests import ToolCall
from core.settings.schema import Settings
from core.workbench import Workbench
from tests.fakes.support import folders_in


def find_case(title: str) -> ToolCase:
    return next(case for case in TOOL_CASES if case.title == title)


def answer(*calls: tuple[str, object], text: str = "") -> ReplyChoice:
    made = [
        ToolCall(f"call_{number}", name, said if isinstance(said, str) else json.dumps(said))
        for number, (name, said) in enumerate(calls)
    ]
    return ReplyChoice(0, text, FinishReason.TOOL_CALLS if calls else FinishReason.STOP, tool_calls=tuple(made))


async def ask(tmp_path: Path, engine: str) -> list[ToolVerdict]:
    workbench = Workbench(Settings(), folders_in(tmp_path), Engines({"echo": f"tests.fakes.callers:{engine}"}))
    try:
        name = await workbench.models.load("echo")
        return [verdict async for verdict in workbench.bench.check_tools(name)]
    finally:
        await workbench.close()


async def test_a_model_that_calls_tools_well_gets_every_point(tmp_path: Path) -> None:
    verdicts = await ask(tmp_path, "SkilledCaller")
    assert [verdict.problem for verdict in verdicts] == [""] * len(TOOL_CASES)
    assert [verdict.case for verdict in verdicts] == [case.title for case in TOOL_CASES]
    assert str(count_score(verdicts)) == "8 of 8 right, 100% of the points"


async def test_a_model_that_says_the_question_again_calls_nothing(tmp_path: Path) -> None:
    verdicts = await ask(tmp_path, "CallingEcho")
    assert verdicts[0].problem == "It called nothing; it wrote What is the weather in Lisbon right now?"
    assert verdicts[0].points == 0
    assert count_score(verdicts).passed == 1, "it says again the result that it is told"


async def test_only_a_model_that_is_loaded_is_asked(tmp_path: Path) -> None:
    workbench = Workbench(Settings(), folders_in(tmp_path))
    with pytest.raises(ModelNotFound):
        workbench.bench.check_tools("nowhere")
    await workbench.close()


HEATING = {"room": "Bedroom", "degrees": 21.5, "hours": 3, "fan": False}


@pytest.mark.parametrize(
    ("title", "calls", "points", "why"),
    [
        ("numbers and booleans", [("set_heating", HEATING)], 4, ""),
        ("numbers and booleans", [("set_heating", {**HEATING, "fan": "off"})], 2, "Expected `bool`, got `str`"),
        ("numbers and booleans", [("set_heating", {**HEATING, "hours": "3"})], 2, "at `$.hours`"),
        ("numbers and booleans", [("set_heating", {**HEATING, "hours": 4})], 3, "`hours` of set_heating is 4, not 3."),
        ("numbers and booleans", [("set_heating", '{"room":')], 2, "do not fit"),
        ("the right one of four", [("search_web", {"query": "usd eur"})], 1, "called search_web in place of convert"),
        ("none needed", [("get_weather", {"city": "Oslo"})], 0, "should have answered in words"),
        ("two at once", [("get_weather", {"city": "Paris"})], 0, "1 in place of 2"),
        ("two at once", [("get_weather", {"city": "tokyo"}), ("get_weather", {"city": "paris"})], 4, ""),
        ("two at once", [("get_weather", {"city": "Paris"})] * 2, 3, '`city` of get_weather is "Paris", not "Tokyo".'),
        (
            "several lines with quotes",
            [("write_file", {"path": "say.py", "content": 'print("It\\\'s done")'})],
            3,
            "`content` of write_file is",
        ),
        (
            "an object inside",
            [
                (
                    "add_contact",
                    {
                        "name": "Ada Byron",
                        "address": {"street": "12 Mill Lane", "city": "London", "postcode": "CB2 1RX"},
                        "groups": ["friends"],
                    },
                )
            ],
            3,
            '`city` of add_contact is "London", not "Cambridge".',
        ),
    ],
)
def test_what_is_wrong_with_a_call_is_told(
    title: str, calls: Sequence[tuple[str, object]], points: int, why: str
) -> None:
    verdict = judge_answer("m", find_case(title), answer(*calls))
    assert verdict.points == points
    assert why in verdict.problem
    assert bool(verdict.problem) == bool(why)


def test_an_answer_in_words_holds_what_the_tool_told() -> None:
    case = find_case("a result answered")
    assert judge_answer("m", case, answer(text="17 degrees")).points == 4
    assert judge_answer("m", case, answer(text="Warm.")).problem == "It did not answer 17; it wrote Warm."


def test_the_right_calls_fit_the_schemas_that_models_are_told() -> None:
    for case in TOOL_CASES:
        for call in case.calls:
            schema = build_schema(type(call.arguments))
            assert "$ref" not in json.dumps(schema)
            jsonschema.validate(msgspec.to_builtins(call.arguments), schema)


def test_verdicts_are_written_in_each_form() -> None:
    verdicts = [judge_answer("m|n", find_case("none needed"), answer(text="5"))]
    assert "| m\\|n | none needed | yes | yes | yes | yes |" in export_verdicts(verdicts, ExportFormat.MARKDOWN)
    assert export_verdicts(verdicts, ExportFormat.CSV).splitlines()[1].startswith("m|n,none needed,yes,")
    assert json.loads(export_verdicts(verdicts, ExportFormat.JSON))[0]["exact"] is True
