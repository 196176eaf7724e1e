"""Every family's calls under a mask: what the mask lets through is what its parser reads."""

from __future__ import annotations

import pytest

from core.chat.parsers.family import ChatFamily
from core.chat.parsers.registry import choose_family
from core.decoding.masks.calls import CallTerms
from core.decoding.masks.compiler import MaskCompiler
from core.decoding.masks.thinking import find_thinking
from core.decoding.masks.trials import FormTrials
from core.engines.echo import EchoTokenizer
from core.requests import Constraint, JsonObject, Tool
from tests.core.chat.parsers import examples as written
from tests.core.decoding.masks.conftest import Compile
from tests.core.decoding.masks.test_forms import writes
from tests.fakes.answers import read_pieces

WEATHER = Tool(
    "get_weather",
    "",
    '{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"},"unit":{"enum":["C","F"]}},'
    '"required":["city"],"additionalProperties":false}',
)
NOW = Tool("now", "", '{"type":"object","properties":{},"additionalProperties":false}')
BAR = written.BAR
SECTION = (f"<{BAR}tool▁calls▁begin{BAR}>", f"<{BAR}tool▁calls▁end{BAR}>")
CALL = (f"<{BAR}tool▁call▁begin{BAR}>", f"<{BAR}tool▁sep{BAR}>", f"<{BAR}tool▁call▁end{BAR}>")
ONE = '{"name": "get_weather", "arguments": {"city": "Rome", "days": 2, "unit": "C"}}'
TWO = '{"name": "now", "arguments": {}}'
ROME = '{"city": "Rome", "days": 2, "unit": "C"}'
TAGS = (
    "<parameter=city>{0}Rome{0}</parameter>\n<parameter=days>{0}2{0}</parameter>\n<parameter=unit>{0}C{0}</parameter>\n"
)
LINES = TAGS.format("\n")
INVOKED = (
    '<invoke name="get_weather">\n<parameter name="city">Rome</parameter>\n<parameter name="days">2</parameter>\n'
    '<parameter name="unit">C</parameter>\n</invoke>'
)
GLM = "<arg_key>city</arg_key>{0}<arg_value>Rome</arg_value>{0}<arg_key>days</arg_key>{0}<arg_value>2</arg_value>{0}"
GLM_UNIT = "<arg_key>unit</arg_key>{0}<arg_value>C</arg_value>{0}"
TEXTS = {
    written.HERMES: f"<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{TWO}\n</tool_call>",
    written.QWEN_CODER: (
        f"<tool_call>\n<function=get_weather>\n{LINES}</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>"
        "\n</tool_call>"
    ),
    written.SEED: (
        f"<seed:tool_call>\n<function=get_weather>\n{TAGS.format('')}</function>\n</seed:tool_call>\n<seed:tool_call>\n"
        "<function=now>\n</function>\n</seed:tool_call>"
    ),
    written.MINIMAX: f'<minimax:tool_call>\n{INVOKED}\n<invoke name="now">\n</invoke>\n</minimax:tool_call>',
    written.MINIMAX_LINES: f"<tool_calls>\n{ONE}\n{TWO}\n</tool_calls>",
    written.MINIMAX_TREES: written.tree(
        written.tree_call("get_weather", "<city>Rome|</city>|<days>2|</days>|<unit>C|</unit>|"),
        written.tree_call("now", ""),
    ),
    written.MINICPM: (
        '<function name="get_weather"><param name="city">Rome</param><param name="days">2</param>'
        '<param name="unit">C</param></function><function name="now"></function>'
    ),
    written.DSML: written.dsml(
        written.dsml_call("get_weather", ("city", True, "Rome"), ("days", False, "2"), ("unit", True, "C")),
        written.dsml_call("now"),
    ),
    written.DEEPSEEK: (
        f"{SECTION[0]}{CALL[0]}get_weather{CALL[1]}{ROME}{CALL[2]}{CALL[0]}now{CALL[1]}{{}}{CALL[2]}{SECTION[1]}"
    ),
    written.DEEPSEEK + "```json": (
        f"{SECTION[0]}{CALL[0]}function{CALL[1]}get_weather\n```json\n{ROME}\n```{CALL[2]}{CALL[0]}function{CALL[1]}now\n"
        f"```json\n{{}}\n```{CALL[2]}{SECTION[1]}"
    ),
    written.GLM: (
        f"<tool_call>get_weather\n{GLM.format(chr(10))}{GLM_UNIT.format(chr(10))}</tool_call>\n<tool_call>now\n</tool_call>"
    ),
    "tools <tool_call><arg_key>": (
        f"<tool_call>get_weather{GLM.format('')}{GLM_UNIT.format('')}</tool_call><tool_call>now</tool_call>"
    ),
    written.KIMI: (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        f"{ROME}<|tool_call_end|><|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{{}}<|tool_call_end|>"
        "<|tool_calls_section_end|>"
    ),
    written.HUNYUAN: written.hunyuan(
        "<tool_calls~\n<tool_call~get_weather<tool_sep~\n<arg_key~city</arg_key~\n<arg_value~Rome</arg_value~\n<arg_key~days"
        "</arg_key~\n<arg_value~2</arg_value~\n<arg_key~unit</arg_key~\n<arg_value~C</arg_value~\n</tool_call~\n<tool_call~"
        "now<tool_sep~\n</tool_call~\n</tool_calls~"
    ),
    written.SOLAR: (
        f"<|tool_calls|><|tool_call:begin|>abcdefgh1j<|tool_call:name|>get_weather<|tool_call:args|>{ROME}<|tool_call:end|>"
        "<|tool_call:begin|>abcdefghkj<|tool_call:name|>now<|tool_call:args|>{}<|tool_call:end|><|calls|>"
    ),
    written.KIMI_XTML: written.xtml(
        '[tools][call tool="get_weather" index="1"][argument key="city" type="string"]Rome[/argument][argument '
        'key="days" type="number"]2[/argument][argument key="unit" type="string"]C[/argument][/call]'
        '[call tool="now" index="2"][/call][/tools]'
    ),
    written.MUSE: (
        ' to=get_weather<|message|><atem:function_calls>\n<atem:invoke name="get_weather">\n<atem:parameter name='
        '"city">Rome</atem:parameter>\n<atem:parameter name="days">2</atem:parameter>\n<atem:parameter name="unit">C'
        "</atem:parameter>\n</atem:invoke>\n</atem:function_calls>"
    ),
    written.MISTRAL: f"[TOOL_CALLS][{ONE}, {TWO}]",
    written.MISTRAL_NAMED: f"[TOOL_CALLS]get_weather[ARGS]{ROME}[TOOL_CALLS]now[ARGS]{{}}",
    f"{written.MISTRAL_NAMED}[CALL_ID]": (
        f"[TOOL_CALLS]get_weather[CALL_ID]abcdefgh1[ARGS]{ROME}[TOOL_CALLS]now[CALL_ID]abcdefgh2[ARGS]{{}}"
    ),
    written.COMMAND: (
        f'<|START_ACTION|>[{{"tool_name": "get_weather", "parameters": {ROME}}}, {{"tool_name": "now", '
        '"parameters": {}}]<|END_ACTION|>'
    ),
    "tools Action: ```json <|CHATBOT_TOKEN|>": (
        f'Action:\n```json\n[{{"tool_name": "get_weather", "parameters": {ROME}}}, {{"tool_name": "now", '
        '"parameters": {}}]\n```'
    ),
    written.GEMMA: (
        '<|tool_call>call:get_weather{city:<|"|>Rome<|"|>,days:2,unit:<|"|>C<|"|>}<tool_call|><|tool_call>call:now{}'
        "<tool_call|>"
    ),
    "tools <|tool_call|> <|start_of_role|>": f"<|tool_call|>[{ONE}, {TWO}]",
    "tools <|tool_call|> <|/tool_call|>": f"<|tool_call|>[{ONE}, {TWO}]<|/tool_call|>",
    "tools functools[": f" functools[{ONE}, {TWO}]",
    "tools <TOOLCALL>": f"<TOOLCALL>[{ONE}, {TWO}]</TOOLCALL>",
    "tools <tool_calls>": f"<tool_calls>[{ONE}, {TWO}]</tool_calls>",
    "tools <|function_call|>": f"<|function_call|>{ONE}<|function_call|>{TWO}",
    "tools function call role_sep": (
        f"<|message_sep|>\n\nfunction call<|role_sep|>\n{ONE}<|message_sep|>\n\nfunction call<|role_sep|>\n{TWO}"
    ),
    written.APERTUS: f'<|tools_prefix|>[{{"get_weather": {ROME}}}, {{"now": {{}}}}]<|tools_suffix|>',
    written.LFM: '<|tool_call_start|>[get_weather(city="Rome", days=2, unit="C"), now()]<|tool_call_end|>',
    written.LLAMA: ONE.replace("arguments", "parameters") + "; " + TWO.replace("arguments", "parameters"),
    written.FUNCTIONARY: f"get_weather\n{ROME}>>>now\n{{}}",
    written.FUNCTIONARY_31: f"<function=get_weather>{ROME}</function><function=now>{{}}</function>",
    written.HARMONY: f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{ROME}",
    "tools": f"<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{TWO}\n</tool_call>",
}


def test_an_answer_in_a_form_stands_in_the_channel_for_answers(trials: FormTrials) -> None:
    family = family_of(written.HARMONY)
    compiler = MaskCompiler(EchoTokenizer(), trials)
    thought = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
    mask = compiler.compile(Constraint(JsonObject()), find_thinking(family, "<|start|>assistant"))
    for text in ("<|channel|>final<|message|>{}", f"{thought}<|channel|>final<|message|>{{}}"):
        assert writes(mask.copy(), text)
        assert read_pieces(family, [text]).said == "{}"
    assert not writes(mask.copy(), "{}")
    assert family.calls is not None
    terms = CallTerms(frozenset({"now"}))
    form = terms.make_form(family.calls.write_grammar((NOW,), terms, several=False))
    called = compiler.compile(Constraint(form), find_thinking(family, "<|start|>assistant"))
    text = f"{thought}<|channel|>commentary to=functions.now <|constrain|>json<|message|>{{}}"
    assert writes(called, text)
    assert read_pieces(family, [text], (NOW,)).calls == (("now", "{}"),)


def family_of(template: str) -> ChatFamily:
    family = choose_family(template)
    assert family is not None
    return family


def test_a_tree_of_tags_is_held_to_the_schemas_of_its_members(compiled: Compile) -> None:
    family = family_of(written.MINIMAX_TREES)
    assert family.calls is not None
    tool = Tool(
        "plan",
        "",
        '{"type":"object","properties":{"days":{"type":"array","items":{"type":"object","properties":{"hour":{"type":'
        '"integer"},"what":{"type":"string"}},"required":["hour"]}},"open":{"type":"boolean"}}}',
    )
    terms = CallTerms(frozenset({"plan"}))
    mask = compiled(terms.make_form(family.calls.write_grammar((tool,), terms, several=False)))
    members = "<days>|<item>|<hour>8|</hour>|<what>a < b|</what>|</item>|<item>|<hour>9|</hour>|</item>|</days>|"
    text = written.tree(written.tree_call("plan", f"{members}<open>true|</open>|"))
    assert writes(mask.copy(), text)
    arguments = '{"days":[{"hour":8,"what":"a < b"},{"hour":9}],"open":true}'
    assert read_pieces(family, [text], (tool,)).calls == (("plan", arguments),)
    for wrong in (("8", "eight"), ("true", "yes"), ("<hour>", "<time>"), ("<item>", "<day>")):
        assert not writes(mask.copy(), text.replace(*wrong, 1))


@pytest.mark.parametrize(("template", "text"), TEXTS.items(), ids=[family_of(template).name for template in TEXTS])
def test_what_a_mask_of_calls_lets_through_is_read_as_calls(template: str, text: str, compiled: Compile) -> None:
    family = family_of(template)
    assert family.calls is not None
    terms = CallTerms(frozenset({"get_weather", "now"}))
    grammar = family.calls.write_grammar((WEATHER, NOW), terms, several=True)
    mask = compiled(terms.make_form(grammar))
    assert writes(mask.copy(), text)
    assert not writes(mask.copy(), text.replace("get_weather", "get_whether"))
    assert not writes(mask.copy(), text.replace("2", "two", 1))
    assert not writes(mask.copy(), "Hello")
    calls = read_pieces(family, [text], (WEATHER, NOW)).calls
    assert calls[0][0] == "get_weather"
    assert calls[0][1].replace(" ", "") == ROME.replace(" ", "")
    assert calls[1:] == ((("now", "{}"),) if "now" in text else ())
    alone = terms.make_form(family.calls.write_grammar((NOW,), terms, several=False))
    assert not writes(compiled(alone), text)
