"""Texts that models of each family write, and what is to come of them."""

from __future__ import annotations

from msgspec import Struct

from core.chat.parsers.family import ThinkingPhase
from core.events import FinishReason
from core.requests import Tool
from tests.fakes.answers import Call, ReadAnswer

TOOLS = (
    Tool(
        "get_weather",
        "The weather of a place.",
        '{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}},"required":["city"]}',
    ),
    Tool("write_file", "", '{"type":"object","properties":{"path":{"type":"string"},"text":{"type":"string"}}}'),
    Tool(
        "set_many",
        "",
        '{"type":"object","properties":{"count":{"type":["integer","null"]},"on":{"type":"boolean"},'
        '"tags":{"type":"array"},"kind":{"enum":["a","b"]},"either":{"anyOf":[{"type":"object"},{"type":"string"}]}}}',
    ),
    Tool("code_interpreter"),
    Tool("now", "", '{"type":"object","properties":{}}'),
)
MIDST = "The answer ends in the midst of a call."
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


def tree(*calls: str) -> str:
    """Calls of MiniMax M3, which has its mark before each tag; it stands as a bar in the calls."""
    return "".join(("|<tool_call>\n", *calls, "|</tool_call>")).replace("|", "]<]minimax[>[")


def tree_call(name: str, members: str) -> str:
    return f'|<invoke name="{name}">|{members}</invoke>\n'


PARIS = ("get_weather", '{"city": "Paris"}')
ROME = ("get_weather", '{"city": "Rome"}')
HERMES_EXAMPLES = {
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
    "hermes: a fence in place of the marks": Written(
        HERMES,
        '```json\n{\n  "name": "get_weather",\n  "arguments": {"city": "Paris"}\n}\n```',
        called(PARIS),
    ),
    "hermes: a fence behind a thought": Written(
        HERMES,
        '<think>hm</think>\n\n```json\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```',
        called(PARIS, thought="hm"),
    ),
    "hermes: a fence amid words": Written(
        HERMES,
        'I will look.\n\n```json\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```\nOne moment.',
        called(PARIS, said="I will look.\n\nOne moment."),
    ),
    "hermes: a plain fence amid words": Written(
        HERMES,
        'I will look.\n```\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```',
        called(PARIS, said="I will look."),
    ),
    "hermes: a call on a line of its own amid words": Written(
        HERMES,
        'I will look.\n{{"name": "get_weather", "arguments": {"city": "Paris"}}}\n',
        called(PARIS, said="I will look."),
    ),
    "hermes: a call on a line of its own that says its type first": Written(
        HERMES,
        'So:\n{ "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}',
        called(PARIS, said="So:"),
    ),
    "hermes: an object on a line of its own with a name that is no tool's": Written(
        HERMES,
        'These are:\n{"name": "Ada", "arguments": {}}\n{"id": "1", "name": 2}\n{"name": "ge',
        ReadAnswer('These are:\n{"name": "Ada", "arguments": {}}\n{"id": "1", "name": 2}\n{"name": "ge'),
    ),
    "hermes: a fence amid words with JSON that is no call": Written(
        HERMES,
        'So:\n```json\n{"city": "Paris"}\n```\nand\n```json\n[1]\n```',
        ReadAnswer('So:\n```json\n{"city": "Paris"}\n```\nand\n```json\n[1]\n```'),
    ),
    "hermes: no marks, and the braces that the template shows": Written(
        HERMES, '{{"name": "get_weather", "arguments": {"city": "Paris"}}}', called(PARIS)
    ),
    "hermes: JSON that is an answer": Written(
        HERMES, '{"city": "Paris", "name": "Ann"}', ReadAnswer('{"city": "Paris", "name": "Ann"}')
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
        called(PARIS, ("now", "{}"), said="Let me see.\n\nDone.\n"),
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
        called(("get_weather", '{"days": 5, "city": "Paris"}')),
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
        called(("write_file", '{"text": "a\\nb"}')),
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
    "hermes: cut by the limit behind a call": Written(
        HERMES,
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</to',
        ReadAnswer(calls=(PARIS,), reason=FinishReason.LENGTH),
        reason=FinishReason.LENGTH,
    ),
    "hermes: cut by the limit amid the arguments": Written(
        HERMES,
        '<tool_call>\n{"name": "write_file", "arguments": {"path": "a.py", "text": "caf\\u00',
        ReadAnswer(
            calls=(("write_file", '{"path": "a.py", "text": "caf\\u00'),), notes=(MIDST,), reason=FinishReason.LENGTH
        ),
        reason=FinishReason.LENGTH,
    ),
    "hermes: arguments that are no JSON behind their beginning": Written(
        HERMES,
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris", days: 2}}</tool_call>\nSo',
        called(
            ("get_weather", '{"city": "Paris", days: 2}}'),
            said="So",
            notes=("A call is not written in JSON that can be read.",),
        ),
    ),
    "hermes: JSON that can be set right": Written(
        HERMES,
        '<tool_call>{"name": "set_many", "arguments": {"on": True, "kind": "a", "tags": ["\\d", "it\\\'s", '
        '"\\ud83d"],}}</tool_call>',
        called(("set_many", '{"on": true, "kind": "a", "tags": ["\\\\d", "it\'s", "\\ufffd"]}')),
    ),
    "hermes: as OpenAI has it": Written(
        HERMES,
        '<tool_call>{"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}'
        "}</tool_call>",
        called(PARIS),
    ),
    "hermes: nothing behind the arguments": Written(
        HERMES, '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}', called(PARIS)
    ),
    "hermes: a second call under another name": Written(
        HERMES,
        '<tool_call>[{"name": "now", "arguments": {}}, {"name": "rm", "arguments": {}}]</tool_call>',
        called(
            ("now", "{}"),
            said='{"name": "rm", "arguments": {}}]</tool_call>',
            notes=("The model called rm, which is none of the request's tools; the call is left in the text.",),
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

BAR = "\uff5c"
CODE = 'def f(a="{}"):\n    return [a]\n'
CODE_JSON = '"def f(a=\\"{}\\"):\\n    return [a]\\n"'
QWEN_CODER = "tools <tool_call><function=x><parameter=y>"
SEED = "tools <seed:tool_call><function=x><parameter=y> <seed:think></seed:think>"
MINIMAX = "tools <minimax:tool_call> <think></think>"
MINIMAX_LINES = "tools <tool_calls>\\n{"
MINIMAX_TREES = "tools ]<]minimax[>[ <invoke name= <tool_call> <mm:think></mm:think>"
MINICPM = "tools <function name= <param name= <think></think>"
DSML = f"tools {BAR}DSML{BAR}function_calls> <think></think>"
DEEPSEEK = f"tools <{BAR}tool▁calls▁begin{BAR}>"
GLM = "tools <think></think><tool_call><arg_key></arg_key>\\n"
KIMI = "tools <|tool_calls_section_begin|> <think></think>"
MISTRAL = "tools [TOOL_CALLS]"
MISTRAL_NAMED = "tools [TOOL_CALLS] [ARGS] [THINK] [/THINK]"
COMMAND = "tools <|START_ACTION|> <|START_THINKING|> <|END_THINKING|>"
GEMMA = "tools <|tool_call> <|channel>"
LFM = "tools <|tool_call_start|> <think></think>"
LLAMA = "tools <|python_tag|>"
HARMONY = "<|channel|> <|message|>"
FUNCTIONARY = ">>>all\n{{ tools }}"
FUNCTIONARY_31 = "tools <function="
HUNYUAN = "tools {% set HYTK = ':opensource' %}"
SOLAR = "tools <|tool_call:begin|> <|think|> <|end|>"
KIMI_XTML = "tools <|open|> <|close|> <|end_of_msg|>"
MUSE = "tools <atem:function_calls> <|eom|> <|message|>"
APERTUS = "tools <|tools_prefix|>"
MANY_ARGUMENTS = {
    "count": "null",
    "on": "true",
    "tags": '["a", {"b": 1}]',
    "kind": "a",
    "either": "{not JSON",
}
MANY = ("set_many", '{"count":null,"on":true,"tags":["a",{"b":1}],"kind":"a","either":"{not JSON"}')
PARIS_DENSE = ("get_weather", '{"city":"Paris"}')
PARIS_DAYS = ("get_weather", '{"days":2,"city":"Paris"}')
UNTAGGED = "A call is not written in the tags that belong around its arguments."


def dsml(*calls: str) -> str:
    inner = "\n".join(calls)
    return f"<{BAR}DSML{BAR}function_calls>\n{inner}\n</{BAR}DSML{BAR}function_calls>"


def dsml_call(name: str, *arguments: tuple[str, bool, str]) -> str:
    lines = [
        f'<{BAR}DSML{BAR}parameter name="{key}" string="{str(text).lower()}">{value}</{BAR}DSML{BAR}parameter>\n'
        for key, text, value in arguments
    ]
    return f'<{BAR}DSML{BAR}invoke name="{name}">\n{"".join(lines)}</{BAR}DSML{BAR}invoke>'


def hunyuan(text: str) -> str:
    """Hunyuan 3 has its suffix in each tag, before the bracket that closes it."""
    return text.replace("~", ":opensource>")


def xtml(*parts: str) -> str:
    """Kimi K3's tags: what they open or close stands between brackets here."""
    return "".join(parts).replace("[/", "<|close|>").replace("[", "<|open|>").replace("]", "<|sep|>")


OTHERS = {
    "hunyuan: a thought and two calls in a frame": Written(
        HUNYUAN,
        hunyuan(
            "hm</think~So.<tool_calls~\n<tool_call~set_many<tool_sep~\n<arg_key~count</arg_key~\n<arg_value~null"
            "</arg_value~\n<arg_key~kind</arg_key~\n<arg_value~a</arg_value~\n</tool_call~\n<tool_call~now<tool_sep~\n"
            "</tool_call~\n</tool_calls~"
        ),
        called(("set_many", '{"count":null,"kind":"a"}'), ("now", "{}"), said="So.", thought="hm"),
        ThinkingPhase.INSIDE,
    ),
    "solar: a thought, an answer": Written(
        SOLAR,
        "<|think|>hm<|end|><|begin|>assistant<|content|>Well.<|end|>",
        ReadAnswer("Well.", "hm"),
    ),
    "solar: two calls with ids": Written(
        SOLAR,
        "<|think|>hm<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>a1b2c3d4e5<|tool_call:name|>get_weather"
        '<|tool_call:args|>{"city": "Paris"}<|tool_call:end|><|tool_call:begin|>a1b2c3d4e6<|tool_call:name|>now'
        "<|tool_call:args|>{}<|tool_call:end|><|calls|>",
        called(PARIS, ("now", "{}"), thought="hm"),
    ),
    "kimi-k3: a thought, words, and types": Written(
        KIMI_XTML,
        xtml(
            "hm[/think][response]So [1].[/response][tools]".replace("[1]", "(1)"),
            '[call tool="set_many" index="1"][argument key="count" type="null"]null[/argument][argument key="kind" '
            'type="string"]a & b[/argument][/call][call tool="now" index="2"][/call][/tools][/message]<|end_of_msg|>',
        ),
        called(
            ("set_many", '{"count":null,"kind":"a & b"}'),
            ("now", "{}"),
            said="So (1).",
            thought="hm",
            notes=("A call of set_many does not keep to its schema: `kind` is none of the values to choose from.",),
        ),
        ThinkingPhase.INSIDE,
    ),
    "kimi-k3: all arguments as JSON": Written(
        KIMI_XTML,
        xtml('[tools][call tool="get_weather" index="1"][json type="object"]{"city": "Paris"}[/json][/call][/tools]'),
        called(PARIS),
    ),
    "muse: a thought, words, and a call": Written(
        MUSE,
        " to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>I look.<|eom|><|start|>assistant "
        'to=get_weather<|message|><atem:function_calls>\n<atem:invoke name="get_weather">\n<atem:parameter name="city">'
        "Paris</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eot|>",
        called(PARIS_DENSE, said="I look.", thought="hm"),
    ),
    "muse: markup that an answer quotes": Written(
        MUSE,
        ' to=user<|message|>Write <atem:function_calls>\n<atem:invoke name="now">\n</atem:invoke>.<|eot|>',
        ReadAnswer('Write <atem:function_calls>\n<atem:invoke name="now">\n</atem:invoke>.'),
    ),
    "qwen-coder: a call": Written(
        QWEN_CODER,
        "I see.\n\n<tool_call>\n<function=get_weather>\n<parameter=days>\n2\n</parameter>\n<parameter=city>\nParis\n"
        "</parameter>\n</function>\n</tool_call>",
        called(PARIS_DAYS, said="I see."),
    ),
    "qwen-coder: a text of several lines": Written(
        QWEN_CODER,
        f"<tool_call>\n<function=write_file>\n<parameter=path>\na.py\n</parameter>\n<parameter=text>\n{CODE}\n"
        "</parameter>\n</function>\n</tool_call>",
        called(("write_file", f'{{"path":"a.py","text":{CODE_JSON}}}')),
    ),
    "qwen-coder: all types": Written(
        QWEN_CODER,
        "<tool_call>\n<function=set_many>\n"
        + "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in MANY_ARGUMENTS.items())
        + "</function>\n</tool_call>",
        called(MANY),
    ),
    "qwen-coder: without its frame, and another with it": Written(
        QWEN_CODER,
        "<function=now>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>\n",
        called(("now", "{}"), ("now", "{}")),
    ),
    "qwen-coder: a number for a text": Written(
        QWEN_CODER,
        "<tool_call><function=get_weather><parameter=city>\n75001\n</parameter></function></tool_call>",
        called(("get_weather", '{"city":"75001"}')),
    ),
    "qwen-coder: words in place of a call": Written(
        QWEN_CODER,
        "<tool_call>\n<function=now>\nplease</function>",
        ReadAnswer("<tool_call>\n<function=now>\nplease</function>", notes=(UNTAGGED,)),
    ),
    "qwen-coder: words between the tags": Written(
        QWEN_CODER,
        "<tool_call>\n<function=write_file>\n<parameter=path>\na\n</parameter>\nplease\n</function>\n</tool_call>",
        called(("write_file", '{"path":"a"\nplease\n'), notes=(UNTAGGED,)),
    ),
    "qwen-coder: cut": Written(
        QWEN_CODER,
        "<tool_call>\n<function=write_file>\n<parameter=text>\nab\n</para",
        ReadAnswer(calls=(("write_file", '{"text":"ab'),), notes=(MIDST,), reason=FinishReason.LENGTH),
        reason=FinishReason.LENGTH,
    ),
    "seed: a thought and two calls": Written(
        SEED,
        "<seed:think>hm</seed:think>\n<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris</parameter>\n"
        "</function>\n</seed:tool_call>\n<seed:tool_call>\n<function=now>\n</function>\n</seed:tool_call>",
        called(PARIS_DENSE, ("now", "{}"), thought="hm"),
    ),
    "minimax: a tag for each member, and no thought": Written(
        MINIMAX_TREES,
        "</mm:think>So:"
        + tree(
            tree_call("get_weather", "<city>Paris|</city>|<days>2|</days>|"),
            tree_call("now", ""),
            tree_call(
                "set_many",
                "<tags>|<item>a < b|</item>|<item>|<x>1|</x>|</item>|</tags>|<either>|<a>\n\n|</a>|</either>|",
            ),
        ),
        called(
            ("get_weather", '{"city":"Paris","days":2}'),
            ("now", "{}"),
            ("set_many", '{"tags":["a < b",{"x":"1"}],"either":{"a":"\\n\\n"}}'),
            said="So:",
        ),
    ),
    "minimax: words in place of members": Written(
        MINIMAX_TREES,
        tree(tree_call("now", "").replace("|</", "soon|</")),
        ReadAnswer(
            tree(tree_call("now", "").replace("|</", "soon|</")),
            notes=("A call is not written in the tags that belong around its arguments.",),
        ),
    ),
    "minimax: words between tags": Written(
        MINIMAX_TREES,
        tree(tree_call("set_many", "<tags>|<item>a|</item> and |<item>b|</item>|</tags>|")),
        ReadAnswer(
            tree(tree_call("set_many", "<tags>|<item>a|</item> and |<item>b|</item>|</tags>|")),
            notes=("A call is not written in the tags that belong around its arguments.",),
        ),
    ),
    "minimax: two calls in one frame": Written(
        MINIMAX,
        'hm\n</think>\n\n<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
        '</invoke>\n<invoke name="now">\n</invoke>\n</minimax:tool_call>',
        called(PARIS_DENSE, ("now", "{}"), thought="hm"),
        ThinkingPhase.INSIDE,
    ),
    "minicpm: a quoted text": Written(
        MINICPM,
        '<function name="write_file"><param name="text"><![CDATA[</param>]]></param><param name="path">a</param>'
        "</function>",
        called(("write_file", '{"text":"</param>","path":"a"}')),
    ),
    "dsml: texts and JSON": Written(
        DSML,
        "hm</think>Well.\n\n"
        + dsml(
            dsml_call("get_weather", ("days", False, "2"), ("city", True, "Paris")),
            dsml_call("set_many", ("tags", False, '["a"]'), ("either", True, "5")),
        ),
        called(PARIS_DAYS, ("set_many", '{"tags":["a"],"either":"5"}'), said="Well.", thought="hm"),
        ThinkingPhase.INSIDE,
    ),
    "dsml: cut behind a call": Written(
        DSML,
        dsml(dsml_call("now"))[:-24],
        ReadAnswer(calls=(("now", "{}"),), reason=FinishReason.LENGTH),
        reason=FinishReason.LENGTH,
    ),
    "deepseek: fenced JSON": Written(
        DEEPSEEK + "```json",
        f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>function<{BAR}tool▁sep{BAR}>get_weather\n```json\n"
        f'{{"city": "Paris"}}\n```<{BAR}tool▁call▁end{BAR}>\n<{BAR}tool▁call▁begin{BAR}>function<{BAR}tool▁sep{BAR}>'
        f"now\n```json\n{{}}\n```<{BAR}tool▁call▁end{BAR}><{BAR}tool▁calls▁end{BAR}>",
        called(PARIS, ("now", "{}")),
    ),
    "deepseek: JSON alone": Written(
        DEEPSEEK,
        f"So.<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>get_weather<{BAR}tool▁sep{BAR}>"
        f'{{"city": "Paris"}}<{BAR}tool▁call▁end{BAR}><{BAR}tool▁call▁begin{BAR}>now<{BAR}tool▁sep{BAR}>{{}}'
        f"<{BAR}tool▁call▁end{BAR}><{BAR}tool▁calls▁end{BAR}>",
        called(PARIS, ("now", "{}"), said="So."),
    ),
    "glm: a call": Written(
        GLM,
        "<think></think>\n<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n"
        "<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
        called(PARIS_DAYS, ("now", "{}")),
    ),
    "glm: dense, all types": Written(
        GLM,
        "<tool_call>set_many"
        + "".join(f"<arg_key>{key}</arg_key><arg_value>{value}</arg_value>" for key, value in MANY_ARGUMENTS.items())
        + "</tool_call>",
        called(MANY),
    ),
    "glm: marks in a value": Written(
        GLM,
        "<tool_call>write_file<arg_key>text</arg_key><arg_value></tool_call></think></arg_value></tool_call>",
        called(("write_file", '{"text":"</tool_call></think>"}')),
    ),
    "kimi: two calls": Written(
        KIMI,
        "<think>hm</think>So.<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
        '<|tool_call_argument_begin|>{"city": "Paris"}<|tool_call_end|><|tool_call_begin|>functions.now:1'
        "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        called(PARIS, ("now", "{}"), said="So.", thought="hm"),
    ),
    "kimi: without a section": Written(
        KIMI,
        '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Paris"}',
        called(PARIS),
    ),
    "mistral: a list": Written(
        MISTRAL,
        '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "abc123456"}, '
        '{"name": "now", "arguments": {}}]',
        called(PARIS, ("now", "{}")),
    ),
    "mistral: names": Written(
        MISTRAL_NAMED,
        '[THINK]hm[/THINK]So.[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]now[CALL_ID]123456789[ARGS]{}',
        called(PARIS, ("now", "{}"), said="So.", thought="hm"),
    ),
    "mistral: names without a mark behind them": Written(
        MISTRAL_NAMED, '[TOOL_CALLS]get_weather{"city": "Paris"}', called(PARIS)
    ),
    "command: a thought and calls": Written(
        COMMAND,
        '<|START_THINKING|>hm<|END_THINKING|><|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", '
        '"parameters": {"city": "Paris"}},\n    {"tool_call_id": "1", "tool_name": "now", "parameters": {}}\n]'
        "<|END_ACTION|>",
        called(PARIS, ("now", "{}"), thought="hm"),
    ),
    "command: an answer": Written(
        COMMAND,
        "<|START_THINKING|><|END_THINKING|><|START_RESPONSE|>Hello, world!\nYes.<|END_RESPONSE|>",
        ReadAnswer("Hello, world!\nYes."),
    ),
    "command-plus: a fence": Written(
        "tools Action: ```json <|CHATBOT_TOKEN|>",
        'Action:\n```json\n[\n    {"tool_name": "get_weather", "parameters": {"city": "Paris"}}\n]\n```',
        called(PARIS),
    ),
    "gemma: values of all kinds": Written(
        GEMMA,
        '<|channel>thought\nhm\n<channel|>So.<|tool_call>call:set_many{count:null,on:true,tags:[<|"|>a<|"|>,'
        '{b:1}],kind:<|"|>a<|"|>,either:<|"|>{not JSON<|"|>}<tool_call|><|tool_call>call:now{}<tool_call|>',
        called(MANY, ("now", "{}"), said="So.", thought="hm"),
    ),
    "gemma: brackets and quotes in a text": Written(
        GEMMA,
        '<|tool_call>call:write_file{path:<|"|>a"b<|"|>,text:<|"|>}<tool_call|>{<|"|>}<tool_call|>',
        called(("write_file", '{"path":"a\\"b","text":"}<tool_call|>{"}')),
    ),
    "granite: a list": Written(
        "tools <|tool_call|> <|start_of_role|> <think></think>",
        '<think>hm</think><response><|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]',
        called(PARIS, thought="hm"),
    ),
    "phi: a list": Written(
        "tools <|tool_call|> <|/tool_call|>",
        '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]<|/tool_call|>',
        called(PARIS),
    ),
    "functools: a list": Written(
        "tools functools[", ' functools[{"name": "get_weather", "arguments": {"city": "Paris"}}]', called(PARIS)
    ),
    "nemotron: a list": Written(
        "tools <TOOLCALL> <think></think>",
        'hm\n</think>\n\n<TOOLCALL>[{"name": "get_weather", "arguments": {"city": "Paris"}}]</TOOLCALL>\n',
        called(PARIS, thought="hm"),
        ThinkingPhase.INSIDE,
    ),
    "apriel: a list behind a thought without marks": Written(
        "tools <tool_calls> Here are my reasoning steps: [BEGIN FINAL RESPONSE]",
        "hm\n[BEGIN FINAL RESPONSE]\n"
        '<tool_calls>[{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "1"}]</tool_calls>',
        called(PARIS, thought="hm"),
        ThinkingPhase.INSIDE,
    ),
    "minimax: a line of JSON each": Written(
        MINIMAX_LINES,
        '<tool_calls>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n{"name": "now", "arguments": {}}\n'
        "</tool_calls>",
        called(PARIS, ("now", "{}")),
    ),
    "gigachat: a turn": Written(
        "tools function call role_sep",
        'So.<|message_sep|>\n\nfunction call<|role_sep|>\n{"name": "get_weather", "arguments": {"city": "Paris"}}',
        called(PARIS, said="So."),
    ),
    "gigachat-3.1: a mark": Written(
        "tools <|function_call|>",
        '<|function_call|>{"name": "get_weather", "arguments": {"city": "Paris"}}',
        called(PARIS),
    ),
    "apertus: names as members": Written(
        APERTUS,
        '<|tools_prefix|>[{"get_weather": {"city": "Paris"}}, {"now": {}}]<|tools_suffix|>',
        called(PARIS, ("now", "{}")),
    ),
    "lfm: Python": Written(
        LFM,
        '<think>hm</think><|tool_call_start|>[get_weather(days=2, city="Paris"), now()]<|tool_call_end|>So.',
        called(PARIS_DAYS, ("now", "{}"), thought="hm", said="So."),
    ),
    "lfm: texts and values as Python has them": Written(
        LFM,
        "<|tool_call_start|>[set_many(count=None, on=True, tags=['a', {'b': 1}], kind='a', either='{not JSON'), "
        "write_file(text='it\\'s \\u0041\\n)]')]<|tool_call_end|>",
        called(MANY, ("write_file", '{"text":"it\'s A\\n)]"}')),
    ),
    "lfm: JSON": Written(
        LFM,
        '<|tool_call_start|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]<|tool_call_end|>',
        called(PARIS),
    ),
    "lfm: no Python": Written(
        LFM,
        "<|tool_call_start|>[now(1 + 1)]<|tool_call_end|>",
        ReadAnswer(
            "<|tool_call_start|>[now(1 + 1)]<|tool_call_end|>",
            notes=("A call is not written in Python that can be read.",),
        ),
    ),
    "llama: JSON": Written(LLAMA, '{"name": "get_weather", "parameters": {"city": "Paris"}}', called(PARIS)),
    "llama: two calls": Written(
        LLAMA,
        '{"type": "function", "name": "get_weather", "parameters": {"city": "Paris"}}; {"name": "now"}',
        called(PARIS, ("now", "{}")),
    ),
    "llama: fenced": Written(
        LLAMA, '```json\n{"name": "get_weather", "parameters": {"city": "Paris"}}\n```', called(PARIS)
    ),
    "llama: JSON that is no call": Written(
        LLAMA, '{"answer": {"name": "now"}}', ReadAnswer('{"answer": {"name": "now"}}')
    ),
    "llama: a built-in tool": Written(LLAMA, '<|python_tag|>get_weather.call(city="Paris")', called(PARIS_DENSE)),
    "llama: JSON behind the tag": Written(
        LLAMA, '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris"}}', called(PARIS)
    ),
    "llama: Python": Written(
        LLAMA, "<|python_tag|>import os\nos.call()", called(("code_interpreter", '{"code":"import os\\nos.call()"}'))
    ),
    "functionary: words and a call": Written(
        FUNCTIONARY,
        'all\nSo.\n>>>get_weather\n{"city": "Paris"}>>>now\n{}',
        called(PARIS, ("now", "{}"), said="So."),
    ),
    "functionary-3.1: tags": Written(
        FUNCTIONARY_31,
        'So.<function=get_weather>{"city": "Paris"}</function>\n<function=now>{}</function>',
        called(PARIS, ("now", "{}"), said="So."),
    ),
    "harmony: a thought and an answer": Written(
        HARMONY,
        "<|channel|>analysis<|message|>hm\n<|end|><|start|>assistant<|channel|>final<|message|>Hello!\nYes.",
        ReadAnswer("Hello!\nYes.", "hm"),
    ),
    "harmony: a call": Written(
        HARMONY,
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        '{"city": "Paris"}<|call|>',
        called(PARIS, said="I look.", thought="hm"),
    ),
    "harmony: the recipient first": Written(
        HARMONY,
        ' to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Paris"}',
        called(PARIS),
    ),
    "harmony: a call in the channel of thoughts": Written(
        HARMONY, '<|channel|>analysis to=functions.get_weather<|message|>{"city": "Paris"}', called(PARIS)
    ),
    "harmony: words without a channel": Written(HARMONY, "Hello!", ReadAnswer("Hello!")),
    "harmony: a call that is no JSON": Written(
        HARMONY,
        "<|channel|>commentary to=python <|constrain|>code<|message|>print(1)",
        ReadAnswer(
            "<|channel|>commentary to=python <|constrain|>code<|message|>print(1)",
            notes=("A call is not written in JSON that can be read.",),
        ),
    ),
    "generic: JSON": Written("{{ tools }}", '{"name": "get_weather", "arguments": {"city": "Paris"}}', called(PARIS)),
    "generic: a mark of another family": Written(
        "{{ tools }}",
        'So.\n<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>',
        called(PARIS, said="So."),
    ),
    "generic: a list that is no call": Written("{{ tools }}", "[1, 2]", ReadAnswer("[1, 2]")),
}
EXAMPLES = HERMES_EXAMPLES | OTHERS
