"""Where a growing Markdown text is cut."""

from __future__ import annotations

from tui.screens.chat.markdown_blocks import (
    FENCE_BATCH_LINES,
    LIST_BATCH_CHARACTERS,
    MOST_TABLE_ROWS,
    cut_closed,
    fence_tables,
)


def pieces(text: str, step: int = 3) -> tuple[list[str], str]:
    """Feed `text` in small steps as a model would; the pieces that closed, and the tail."""
    out: list[str] = []
    tail = ""
    for at in range(0, len(text), step):
        tail += text[at : at + step]
        while (piece := cut_closed(tail)) is not None:
            out.append(piece.text)
            tail = piece.rest
    return out, tail


def test_an_unfinished_paragraph_stays_open() -> None:
    assert cut_closed("A sentence that goes on") is None
    assert cut_closed("One line\nand another") is None


def test_a_paragraph_closes_with_the_blank_line_after_it() -> None:
    piece = cut_closed("First.\n\nSec")
    assert piece is not None
    assert (piece.text, piece.rest, piece.joined) == ("First.\n\n", "Sec", False)


def test_a_heading_closes_with_its_line() -> None:
    piece = cut_closed("# Title\nText")
    assert piece is not None
    assert (piece.text, piece.rest) == ("# Title\n", "Text")


def test_a_blank_line_within_a_fence_closes_nothing() -> None:
    assert cut_closed("```python\na = 1\n\nb = 2\n") is None


def test_a_fence_closes_with_its_own_marker_only() -> None:
    assert cut_closed("````\n```\nstill code\n") is None
    piece = cut_closed("````\n```\n````\nafter")
    assert piece is not None
    assert piece.text == "````\n```\n````\n"


def test_a_long_fence_is_closed_and_opened_again() -> None:
    code = "```python\n" + "x = 1\n" * (FENCE_BATCH_LINES + 1)
    piece = cut_closed(code)
    assert piece is not None
    assert piece.joined
    assert piece.text.endswith("```\n")
    assert piece.rest == "```python\n"


def test_a_short_list_stays_whole() -> None:
    assert cut_closed("- one\n- two\n- three\n") is None


def test_a_long_list_is_committed_between_two_items() -> None:
    items = "".join(f"- item number {number} with some words\n" for number in range(40))
    piece = cut_closed(items)
    assert piece is not None
    assert piece.joined
    assert len(piece.text) >= LIST_BATCH_CHARACTERS
    assert piece.rest.startswith("- item")


def test_a_blank_line_within_a_list_item_does_not_end_the_list() -> None:
    assert cut_closed("- one\n\n  more of one\n\n- two\n") is None


def test_a_paragraph_after_a_list_ends_it() -> None:
    piece = cut_closed("- one\n- two\n\nAnd then a paragraph that goes on")
    assert piece is not None
    assert (piece.text, piece.joined) == ("- one\n- two\n\n", False)


def test_code_within_a_list_item_does_not_cut_it() -> None:
    assert cut_closed("1. run\n\n   ```sh\n   tui\n\n   tui doctor\n   ```\n") is None


def test_pieces_and_tail_are_the_text_again() -> None:
    text = "# Title\n\nA paragraph\nof two lines.\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\n\nEnd"
    for step in (1, 2, 3, 7, 50, 500):
        done, tail = pieces(text, step)
        assert "".join(done) + tail == text
        assert len(done) >= 1


def test_what_was_closed_never_depends_on_how_the_text_came() -> None:
    text = "Intro.\n\n1. first\n2. second\n\nBetween, a longer paragraph.\n\n```\ncode\n```\n\nLast."
    one, two = ([piece.strip() for piece in pieces(text, step)[0] if piece.strip()] for step in (1, 2))
    assert one == two


def test_a_huge_table_is_shown_as_written() -> None:
    table = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * (MOST_TABLE_ROWS + 1)
    assert fence_tables(table).startswith("```text\n| a | b |")
    small = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert fence_tables(small) == small
