"""The parts that screens are made of."""

from __future__ import annotations

import logging

import pytest
from textual.app import App, ComposeResult

from core.sizes import format_size
from tui import format as fmt
from tui import glyphs
from tui.widgets.gauge import Gauge, draw_bar
from tui.widgets.log_tail import LogTail
from tui.widgets.plot import Plot, draw_line, draw_spark, fit_columns
from tui.widgets.table import Column, RowTable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (fmt.format_count(12345), "12,345"),
        (fmt.shorten_count(999), "999"),
        (fmt.shorten_count(12_345), "12k"),
        (fmt.shorten_count(3_672_320), "3.7M"),
        (fmt.shorten_count(8_000_000_000), "8B"),
        (format_size(0), "0 B"),
        (format_size(4_123_456), "4.1 MB"),
        (format_size(639_000_000), "639 MB"),
        (fmt.format_rate(0.0), "0"),
        (fmt.format_rate(38.44), "38.4"),
        (fmt.format_rate(1002.4), "1,002"),
        (fmt.format_seconds(0.0123), "12 ms"),
        (fmt.format_seconds(0.99999), "1.0 s"),
        (fmt.format_seconds(42.0), "42 s"),
        (fmt.format_seconds(75.0), "1:15"),
        (fmt.format_seconds(3700.0), "1:01:40"),
        (fmt.format_percent(1, 0), "-"),
        (fmt.format_percent(3, 4), "75%"),
        (fmt.format_plural(1, "thread"), "1 thread"),
        (fmt.clip_text("a long name", 6), "a lon…"),
    ],
)
def test_numbers_are_written_for_people(given: str, shown: str) -> None:
    assert given == shown


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("owner/name:Q8_0 is here.", "owner/name:Q8_0 is here."),
        (f"{'o' * 30}/tiny-GGUF:Q8_0 is here.", "…/tiny-GGUF:Q8_0 is here."),
        (f"owner/{'a' * 15}{'b' * 30}-Q8_0; pause it.", f"…/{'a' * 15}bb…{'b' * 14}-Q8_0; pause it."),
        (f"It is at https://host/{'o' * 30}/{'n' * 30} now.", f"It is at https://host/{'o' * 30}/{'n' * 30} now."),
        (f"There is no file ./{'o' * 30}/{'n' * 30}.", f"There is no file ./{'o' * 30}/{'n' * 30}."),
        (f"There is no file /home/{'o' * 30}/{'n' * 30}.", f"There is no file /home/{'o' * 30}/{'n' * 30}."),
    ],
)
def test_long_names_of_repositories_are_shortened_and_paths_and_addresses_are_not(told: str, shown: str) -> None:
    assert fmt.shorten_names(told) == shown


def test_a_bar_shows_that_little_is_not_nothing() -> None:
    assert draw_bar(0.001, 10, glyphs.ASCII, "").plain == "#---------"
    assert draw_bar(0.0, 10, glyphs.ASCII, "").plain == "----------"
    assert draw_bar(7.0, 10, glyphs.ASCII, "").plain == "##########"


def test_columns_fill_the_width_whatever_the_number_of_values() -> None:
    assert fit_columns([1.0, 2.0], 4) == [1.0, 1.0, 2.0, 2.0]
    assert fit_columns([1.0, 3.0, 5.0, 7.0], 2) == [2.0, 6.0]


def test_a_spark_scales_to_its_largest_value() -> None:
    assert draw_spark([0.0, 1.0, 2.0], "12") == " 12"
    assert draw_spark([0.0, 0.0], "12") == "  "


def test_a_line_is_drawn_from_zero_to_the_top() -> None:
    assert draw_line([0.0, 1.0, 2.0], 2.0, 3, braille=False) == ["  *", " * ", "*  "]
    rising = draw_line([0.0, 1.0], 1.0, 1, braille=True)
    assert rising == [chr(0x2800 + 0x40 + 0x08 + 0x10 + 0x20 + 0x80)]


def test_glyphs_follow_the_environment_and_the_terminal() -> None:
    assert glyphs.choose_glyphs({}, "utf-8") is glyphs.UNICODE
    assert glyphs.choose_glyphs({}, "ascii") is glyphs.ASCII
    assert glyphs.choose_glyphs({"TUI_ASCII": "1"}, "utf-8") is glyphs.ASCII
    assert glyphs.choose_glyphs({"TUI_ASCII": "0"}, "utf-8") is glyphs.UNICODE


def test_ascii_glyphs_are_ascii() -> None:
    for name in glyphs.ASCII.__struct_fields__:
        value = getattr(glyphs.ASCII, name)
        assert isinstance(value, bool) or value.isascii()


def test_the_log_tail_keeps_lines_with_their_fields() -> None:
    tail = LogTail()
    record = logging.LogRecord("core", logging.INFO, __file__, 1, "model %s", ("loaded",), None)
    record.fields = {"model": "guide"}
    tail.emit(record)
    assert tail.lines[0].endswith("info    model loaded model=guide")
    assert tail.version == 1


class Stage(App[None]):
    """A place for single widgets."""

    def compose(self) -> ComposeResult:
        yield RowTable([Column("id", 4), Column("n", 5, right=True), Column("extra", 5, wide_only=True)], dom_id="rows")
        yield Gauge("queue")
        yield Plot("$foreground", "Nothing yet.")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict.fromkeys(("quiet", "edge", "cached", "gauge-ok", "gauge-warn", "gauge-full"), "#808080")


async def test_rows_change_only_the_cells_that_differ() -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.query_one(RowTable)
        table.show({"a": ["a", "1", "x"], "b": ["b", "2", "y"]})
        await pilot.pause()
        table.move_cursor(row=1)
        table.show({"a": ["a", "9", "x"], "b": ["b", "2", "y"], "c": ["c", "3", "z"]})
        assert table.selected == "b"
        assert table.get_row("a") == ["a", "    9"]
        table.show({"b": ["b", "2", "y"]})
        await pilot.pause()
        assert table.selected == "b"
        assert table.row_count == 1


async def test_rows_keep_the_selected_key_when_the_order_changes() -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)):
        table = app.query_one(RowTable)
        table.show({"a": ["a", "1", ""], "b": ["b", "2", ""]})
        table.move_cursor(row=1)
        table.show({"b": ["b", "2", ""], "a": ["a", "1", ""]})
        assert table.selected == "b"
        table.show({})
        assert table.selected is None


async def test_a_wide_terminal_shows_every_column() -> None:
    app = Stage()
    async with app.run_test(size=(120, 24)) as pilot:
        table = app.query_one(RowTable)
        table.show({"a": ["a", "1", "x"]})
        assert len(table.columns) == 3
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert len(table.columns) == 2


async def test_a_gauge_says_its_value_in_words() -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)) as pilot:
        gauge = app.query_one(Gauge)
        gauge.show(0.5, "16 of 32")
        await pilot.pause()
        assert gauge.render().plain.rstrip().endswith("16 of 32")


async def test_a_gauge_without_room_gives_up_its_bar_before_its_value() -> None:
    app = Stage()
    async with app.run_test(size=(25, 24)) as pilot:
        gauge = app.query_one(Gauge)
        gauge.show(0.5, "4,096 of 8,192")
        await pilot.pause()
        assert gauge.render().plain == "queue    \N{BOX DRAWINGS HEAVY HORIZONTAL} 4,096 of 8,192"


async def test_an_empty_plot_says_what_to_do() -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)):
        plot = app.query_one(Plot)
        assert plot.render().plain == "Nothing yet."
        plot.push(10.0)
        assert "11.5" in plot.render().plain


async def test_a_plot_of_zeros_is_labelled_at_its_axis_alone() -> None:
    app = Stage()
    async with app.run_test(size=(80, 24)):
        plot = app.query_one(Plot)
        plot.push(0.0)
        assert plot.render().plain.count("0") == 1
