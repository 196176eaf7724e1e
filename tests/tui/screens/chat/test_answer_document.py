"""An answer as lines: what stands is drawn once, all of it is there, and what is far above is not laid out."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.tui.screens.chat.test_markdown_parser import ATOMS
from tui.glyphs import ASCII, UNICODE
from tui.screens.chat.answer_document import CODE_LINES, AnswerDocument
from tui.screens.chat.drawn_line import Look

LOOK = Look(60, UNICODE)
TEXT = """\
# Title

A **bold** word, `code`, <div> and List<String>, and enough words after them to be wrapped.

- one
  1. nested
- two

> quoted

| a | right |
|---|------:|
| 1 | 22 |

```python title=x
def f(a):
    '''doc
    string'''
    return a
```

The end.
"""


def written(text: str, step: int = 5, look: Look = LOOK) -> AnswerDocument:
    """A document that was given `text` as a model writes it."""
    document = AnswerDocument()
    document.lay_out(look, 100)
    for at in range(0, len(text), step):
        document.take(text[at : at + step])
    document.take("", ended=True)
    return document


def read(document: AnswerDocument) -> list[str]:
    return [line.content.plain.rstrip() for line in (*document.lines, *document.tail_lines)]


def test_blocks_of_all_kinds_are_drawn() -> None:
    assert read(written(TEXT)) == [
        "Title",
        "",
        "A bold word, code, <div> and List<String>, and enough words",
        "after them to be wrapped.",
        "",
        "• one",
        "  1. nested",
        "• two",
        "",
        "▌ quoted",
        "",
        "a │ right",
        "──┼──────",
        "1 │    22",
        "",
        f"{' python title=x':<55}copy",
        " def f(a):",
        "     '''doc",
        "     string'''",
        "     return a",
        "",
        "The end.",
        "",
    ]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_what_is_drawn_does_not_depend_on_how_the_text_came_nor_on_when_it_was_laid_out(step: int) -> None:
    loaded = AnswerDocument()
    loaded.load(TEXT)
    loaded.lay_out(LOOK, 1000)
    assert read(written(TEXT, step)) == read(loaded)


def test_lines_that_stand_are_the_same_objects_when_more_comes() -> None:
    document = AnswerDocument()
    document.lay_out(LOOK, 100)
    document.take("One.\n\n```python\nx = 1\n")
    before = list(document.lines)
    document.take("y = 2\nz = ")
    assert len(document.lines) == len(before) + 1
    assert all(one is other for one, other in zip(before, document.lines, strict=False))
    assert [line.content.plain for line in document.tail_lines] == [" z = "]


def test_a_comment_of_many_lines_is_coloured_as_one_though_its_lines_come_alone() -> None:
    document = written("```c\n/* one\n   two */ int x;\n```\n", step=1)
    styles = [{span.style for span in line.content.spans} for line in document.lines[1:3]]
    assert "$text 60%" in styles[0]
    assert "$text 60%" in styles[1]


def test_a_paragraph_that_never_ends_is_wrapped_as_if_it_had_come_at_once() -> None:
    words = "word by word it goes on " * 200
    document = AnswerDocument()
    document.lay_out(LOOK, 100)
    for at in range(0, len(words), 11):
        document.take(words[at : at + 11])
    whole = AnswerDocument()
    whole.lay_out(LOOK, 100)
    whole.take(words)
    assert read(document) == read(whole)


def test_a_long_answer_is_laid_out_from_its_end_and_the_rest_when_it_is_reached() -> None:
    document = AnswerDocument()
    document.lay_out(LOOK, 20)
    document.load("".join(f"Paragraph {number}.\n\n" for number in range(500)))
    document.lay_out(LOOK, 20)
    assert (document.height, document.has_more_above) == (20, True)
    assert document.lines[0].content.plain == "Paragraph 490."
    assert document.reach_back(50) == 50
    assert document.lines[0].content.plain == "Paragraph 465."
    assert document.reach_back(10_000) == 930
    assert not document.has_more_above


def test_long_code_is_laid_out_from_its_end_too_and_copied_whole() -> None:
    code = "\n".join(f"x = {number}" for number in range(5 * CODE_LINES))
    document = AnswerDocument()
    document.load(f"```python\n{code}\n```\n")
    document.lay_out(LOOK, 20)
    assert (document.height, document.has_more_above) == (CODE_LINES + 1, True)
    document.reach_back(10 * CODE_LINES)
    assert [source.text for source in document.list_code()] == [code]
    assert read(document) == read(written(f"```python\n{code}\n```\n", step=50))


def test_another_width_lays_out_as_much_as_there_was() -> None:
    document = written(TEXT)
    lines = len(document.lines)
    assert document.lay_out(Look(30, UNICODE), 5)
    assert len(document.lines) >= lines
    assert all(line.content.cell_length <= 30 for line in document.lines)
    assert not document.lay_out(Look(30, UNICODE), 5)


def test_in_ascii_there_are_no_other_signs() -> None:
    assert "\n".join(read(written(TEXT, look=Look(60, ASCII)))).isascii()


def test_a_table_without_room_is_told_cell_by_cell() -> None:
    text = f"| {' | '.join(f'head {n}' for n in range(6))} |\n{'|---' * 6}|\n| {' | '.join('abcdef')} |\n"
    assert read(written(text, look=Look(30, UNICODE)))[:2] == ["head 0: a", "head 1: b"]


def test_long_code_goes_on_below_or_is_cut() -> None:
    text = f"```\n{'x' * 100}\n```\n"
    assert "".join(read(written(text))[1:]).count("x") == 100
    cut = read(written(text, look=LOOK._replace(wrap_code=False)))
    assert cut[1] == f" {'x' * 57}…"


def test_what_was_wrapped_is_copied_as_one_line_and_code_as_it_was_written() -> None:
    copied = written(TEXT).extract(None, None)
    assert "and enough words after them to be wrapped.\n" in copied
    assert "\ndef f(a):\n    '''doc\n" in copied
    assert written("```\nab\ncd\n```").list_code()[0].text == "ab\ncd"
    assert written(TEXT).extract((2, 2), (2, 6)) == "bold"


@pytest.mark.parametrize("seed", range(6))
def test_no_letter_of_any_markdown_is_missing_on_the_screen(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(120):
        text = "".join(chance.choices(ATOMS, k=chance.randint(1, 14)))
        shown = "".join(read(written(text)))
        letters = [Counter(filter(str.isalnum, each)) for each in (text, shown)]
        assert not letters[0] - letters[1], text
