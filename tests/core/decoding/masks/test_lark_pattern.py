"""Grammars in Lark as regular expressions, and inputs of tools that are held to them."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.chat.parsers.registry import choose_family
from core.decoding.masks.calls import CallTerms
from core.decoding.masks.lark_pattern import LarkUnfit, convert_lark
from core.requests import Tool
from tests.core.chat.parsers import examples as written
from tests.core.decoding.masks.conftest import Compile
from tests.core.decoding.masks.test_forms import writes
from tests.fakes.answers import read_pieces

PATCH = r"""
start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?

hunk: add_hunk
    | delete_hunk // one file less
add_hunk: "*** Add File: " filename LF add_line+
delete_hunk: "*** Delete File: " filename LF
filename: /(.+)/
add_line: "+" /(.*)/ LF -> line

%import common.LF
"""
TEXT = '*** Begin Patch\n*** Add File: a/b.py\n+print("a\\n")\n*** Delete File: c.py\n*** End Patch'


def matches(grammar: str, text: str) -> bool:
    return re.fullmatch(convert_lark(grammar), text) is not None


@pytest.mark.parametrize(
    ("grammar", "texts", "others"),
    [
        (PATCH, [TEXT, TEXT + "\n"], [TEXT.replace("+p", "p"), TEXT.replace("Add", "Put")]),
        ('start: "a"i~2..3 ["."] | B\nB: "0".."9"', ["aA", "aaa.", "7"], ["a", "aaaa", "77"]),
        ("?start: (x | y)* \n!x.2: /a\\/b/\ny: /C/i", ["", "a/bca/b"], ["ab"]),
        ("start: NAME\n%import common.CNAME -> NAME", ["a_1"], ["1a"]),
        ('start: "(" "\\u00e9\\"" ")"', ['(\u00e9")'], ["()"]),
    ],
)
def test_a_grammar_matches_what_its_expression_does(grammar: str, texts: list[str], others: list[str]) -> None:
    assert all(matches(grammar, text) for text in texts)
    assert not any(matches(grammar, text) for text in others)


@pytest.mark.parametrize(
    ("grammar", "words"),
    [
        ('start: "(" start ")" | "x"', "leads back to itself"),
        ("start: thing", "has no rule 'thing'"),
        ("start: A\nA: /a/\n%ignore A", "%ignore"),
        ("start: A\n%import common.MOON", "'MOON'"),
        ("start: (", "lacks a"),
        ("start $", "cannot be read"),
        (
            "\n".join(f"{'start' if not n else f'r{n}'}: r{n + 1} r{n + 1}" for n in range(40)) + '\nr40: "x"',
            "too large",
        ),
    ],
)
def test_a_grammar_that_is_no_expression_says_why(grammar: str, words: str) -> None:
    with pytest.raises(LarkUnfit, match=re.escape(words)):
        convert_lark(grammar)


@given(st.text('start: ab"|()[]?*+~.123/\\\n%->', max_size=60))
def test_any_text_is_an_expression_or_unfit(text: str) -> None:
    try:
        convert_lark(f"start: {text}")
    except LarkUnfit:
        return


CALLS = {
    written.HERMES: ('<tool_call>\n{"name": "patch", "arguments": {"input": ', "}}\n</tool_call>"),
    written.LLAMA: ('{"name": "patch", "parameters": {"input": ', "}}"),
    written.QWEN_CODER: (
        "<tool_call>\n<function=patch>\n<parameter=input>\n",
        "\n</parameter>\n</function>\n</tool_call>",
    ),
    written.GLM: ("<tool_call>patch\n<arg_key>input</arg_key>\n<arg_value>", "</arg_value>\n</tool_call>"),
}


@pytest.mark.parametrize("template", CALLS)
def test_the_input_of_a_tool_is_held_to_its_grammar_in_the_familys_form(template: str, compiled: Compile) -> None:
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    held = {"type": "string", "pattern": f"^(?:{convert_lark(PATCH)})$"}
    enforced = json.dumps({**schema, "properties": {"input": held}, "additionalProperties": False})
    tool = Tool("patch", "", json.dumps(schema), strict=True, enforced=enforced)
    family = choose_family(template)
    assert family is not None
    assert family.calls is not None
    terms = CallTerms(frozenset({"patch"}))
    mask = compiled(terms.make_form(family.calls.write_grammar((tool,), terms, several=False)))
    before, after = CALLS[template]
    for text, right in ((TEXT, True), (TEXT.replace("+p", "p"), False)):
        call = f"{before}{json.dumps(text) if before.endswith(': ') else text}{after}"
        assert writes(mask.copy(), call) is right
        ((name, arguments),) = read_pieces(family, [call], (tool,)).calls
        assert (name, json.loads(arguments)) == ("patch", {"input": text})
