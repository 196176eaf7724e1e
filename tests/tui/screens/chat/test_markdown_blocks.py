"""Where a growing Markdown text is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.screens.chat.markdown_blocks import (
    LIST_BATCH_CHARACTERS,
    MOST_TABLE_ROWS,
    Cutter,
    Piece,
    PieceKind,
    fence_tables,
    split_fence,
)

LINES = [
    "a",
    "word by word",
    "",
    "- item",
    "1. item",
    "   more",
    "```",
    "```py",
    "~~~~",
    "# head",
    "> q",
    "| a |",
    "  - x",
]


def cut(text: str, step: int = 3) -> tuple[list[Piece], str]:
    """Feed `text` in small steps as a model would; the pieces that closed, and the tail."""
    cutter = Cutter()
    out = [piece for at in range(0, len(text), step) for piece in cutter.take(text[at : at + step])]
    return out, cutter.tail


def texts(text: str) -> list[str]:
    return [piece.text for piece in cut(text)[0]]


def test_an_unfinished_paragraph_stays_open() -> None:
    assert texts("A sentence that goes on") == []
    assert texts("One line\nand another") == []


def test_a_paragraph_closes_with_the_blank_line_after_it() -> None:
    assert cut("First.\n\nSec") == ([Piece(PieceKind.MARKDOWN, "First.\n\n")], "Sec")


def test_a_heading_closes_with_its_line() -> None:
    assert cut("# Title\nText") == ([Piece(PieceKind.MARKDOWN, "# Title\n")], "Text")


def test_code_is_handed_out_line_by_line_and_a_blank_line_closes_nothing() -> None:
    pieces, tail = cut("Say:\n```python\na = 1\n\nb = 2\n```\nafter", step=1)
    assert [(piece.kind, piece.text) for piece in pieces] == [
        (PieceKind.MARKDOWN, "Say:\n"),
        (PieceKind.CODE_BEGUN, "```python\n"),
        (PieceKind.CODE, "a = 1\n"),
        (PieceKind.CODE, "\n"),
        (PieceKind.CODE, "b = 2\n"),
        (PieceKind.CODE_ENDED, "```\n"),
    ]
    assert tail == "after"


def test_a_fence_closes_with_its_own_marker_only() -> None:
    assert [piece.kind for piece in cut("````\n```\nstill code\n", 100)[0]] == [PieceKind.CODE_BEGUN, PieceKind.CODE]
    assert texts("````\n```\n````\nafter")[-1] == "````\n"


def test_code_within_a_line_opens_no_fence() -> None:
    assert texts("```not a fence``` but words\n\nmore") == ["```not a fence``` but words\n\n"]


def test_a_short_list_stays_whole() -> None:
    assert texts("- one\n- two\n- three\n") == []


def test_a_long_list_is_committed_between_two_items() -> None:
    pieces, _ = cut("".join(f"- item number {number} with some words\n" for number in range(40)))
    assert pieces[0].joined
    assert len(pieces[0].text) >= LIST_BATCH_CHARACTERS
    assert pieces[1].text.startswith("- item")


def test_a_blank_line_within_a_list_item_does_not_end_the_list() -> None:
    assert texts("- one\n\n  more of one\n\n- two\n") == []


def test_a_paragraph_after_a_list_ends_it() -> None:
    pieces, tail = cut("- one\n- two\n\nAnd then a paragraph that goes on")
    assert pieces == [Piece(PieceKind.MARKDOWN, "- one\n- two\n\n")]
    assert tail == "And then a paragraph that goes on"


def test_code_within_a_list_item_does_not_cut_it() -> None:
    assert texts("1. run\n\n   ```sh\n   tui\n\n   tui doctor\n   ```\n") == []


@given(st.lists(st.sampled_from(LINES), max_size=25), st.integers(1, 9))
def test_pieces_and_tail_are_the_text_again_and_do_not_depend_on_how_it_came(lines: list[str], step: int) -> None:
    text = "\n".join(lines)
    pieces, tail = cut(text, step)
    assert "".join(piece.text for piece in pieces) + tail == text
    cutter = Cutter()
    whole = [*cutter.take(text), *cutter.take("", ended=True)]
    assert "".join(piece.text for piece in whole) == text
    code = [[each.text for each in part if each.kind is PieceKind.CODE_BEGUN] for part in (pieces, whole)]
    assert code[0] == code[1][: len(code[0])]


def test_what_a_fence_says_of_its_code_is_told_without_its_marker() -> None:
    assert split_fence('  ```python title="a.py"\n') == (2, 'python title="a.py"')
    assert split_fence("~~~~\n") == (0, "")


def test_a_huge_table_is_shown_as_written() -> None:
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * (MOST_TABLE_ROWS + 1)
    assert fence_tables(table).startswith("```text\n| a | b |")
    small = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert fence_tables(small) == small
