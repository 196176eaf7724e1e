"""Markdown of models: all of it is on the screen, and none of it is HTML."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tui.screens.chat.markdown_parser import build_reader

ATOMS = (
    "<b>", "</b>", "a1", "b2 ", "c3\n", "\n\n", "- ", "1. ", "> ", "| ", "|---|\n", "```", "```x y\n", "`", "*", "**",
    "_", "[", "](", "](http://q8 \"t9\")", "]: z7", "![", "&amp;", "<!--", "-->", "\\", "#", " ## ", "~~", "    ", "\t",
    "---\n", "===\n", "<", "http://w6.com", "&#65;", "^", "$",
)  # fmt: skip


def _said(text: str) -> str:
    """All text that the tokens hold, in order."""
    out: list[str] = []
    for token in build_reader().parse(text):
        if token.type == "inline":
            out += [" " if child.type.endswith("break") else child.content for child in token.children or ()]
        elif token.type in ("fence", "code_block"):
            out += [token.info, "\n", token.content]
        elif token.type == "list_item_open":
            out.append(f"{token.info} ")
        if token.type.endswith("_close"):
            out.append("\n")
    return "".join(out)


@pytest.mark.parametrize(
    "text",
    [
        "<think>x</think>",
        "a List<String> b",
        "<answer>42</answer>",
        "<!-- hidden -->",
        "a<br>b",
        "<a href='x'>y</a>",
        "<?php echo 1 ?>",
        "<![CDATA[ x ]]>",
        "&lt;b&gt; &amp; &#27;",
        '[x]: http://there "title"',
        "[^1]: a footnote",
        '![a picture](http://there "title")',
        "[text][reference]",
        r"\(x\) \[y\] \{z\} \\",
        "[l](javascript:alert(1))",
    ],
)
def test_what_commonmark_would_leave_out_is_there(text: str) -> None:
    assert text in _said(text)
    assert text in _said(f"- {text}")
    assert text in _said(f"> {text}")


def test_html_blocks_over_several_lines_are_text() -> None:
    said = _said("<div>\n<p>one\n\ntwo</p>\n</div>\n\n<style>\nthree\n</style>")
    for tag in ("<div>", "<p>one", "two</p>", "</div>", "<style>", "three", "</style>"):
        assert tag in said


def test_html_in_a_table_is_text_and_a_row_keeps_all_its_cells() -> None:
    said = _said("| a | b |\n|---|---|\n| <b>x</b> | 1 | 2 | 3 |\n")
    assert "<b>x</b>" in said
    assert "1 | 2 | 3" in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[here](http://there)", "here (http://there)"),
        ('[here](http://there "really")', 'here (http://there "really")'),
        ("[http://good](http://evil)", "http://good (http://evil)"),
        ("[http://there](http://there)", "http://there"),
        ("<http://there>", "http://there"),
        ("see www.there.com.", "see www.there.com."),
        ("[](http://there)", "(http://there)"),
        ("[![p](q)](http://there)", "![p](q) (http://there)"),
    ],
)
def test_a_link_says_where_it_leads(text: str, shown: str) -> None:
    assert _said(text).strip() == shown


@pytest.mark.parametrize("seed", range(20))
def test_no_letter_of_any_markdown_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        text = "".join(chance.choices(ATOMS, k=chance.randint(1, 14)))
        letters = [Counter(filter(str.isalnum, each)) for each in (text, _said(text))]
        assert not letters[0] - letters[1], text
