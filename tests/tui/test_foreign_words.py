"""Words of others on the screen: never markup, and what a terminal would obey is seen as an escape."""

from __future__ import annotations

import base64
import unicodedata
from pathlib import Path

import pytest
from textual.content import Content
from textual.widgets import Input, TextArea

from core.conversations.tree import Outcome
from core.events import Finished, FinishReason, Timings, Usage
from tests.tui.conftest import chat_of, make_exchange, quiet, until
from tests.tui.screens.chat.test_answer_document import read
from tui.app import BenchtopApp
from tui.screens.chat.transcript import TranscriptView
from tui.widgets.plain import Plain, make_drawable
from tui.widgets.table import Column, RowTable

MARKUP = ("org[/v2]", "[bold]x", "[/]", "[@click=app.quit]quit[/]", "[red]", "[", "[$x]", "\\[a]")
OBEYED = "a\x1b]52;c;AAAA\x07b\x1b[2Jc\x9b1;1Hd\u202ee\udcfff"
SEEN = r"a\x1b]52;c;AAAA\x07b\x1b[2Jc\x9b1;1Hd\u202ee\xfff"


def _drawn(app: BenchtopApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


def _obeyed(text: str) -> list[str]:
    return [sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs") and sign != "\n"]


@pytest.mark.parametrize("name", MARKUP)
async def test_a_name_is_no_markup_anywhere(name: str) -> None:
    app = quiet()
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        rows = RowTable([Column("name", 30)])
        plain = Plain(name)
        await app.screen.mount(rows, plain)
        rows.show({"a": [name]})
        plain.update(f"{name}!")
        plain.border_title = make_drawable(name, lines=False)
        app.notify(f"{name} is here", title=name)
        app.screen.notify(f"{name} is there", markup=True)
        await until(pilot, lambda: f"{name} is there" in _drawn(app))
        assert str(plain.render()) == f"{name}!"
        assert str(rows.get_row_at(0)[0]) == name
        assert f"{name} is here" in _drawn(app)


@pytest.mark.parametrize("name", MARKUP)
async def test_an_answer_of_a_model_with_any_name_is_drawn(name: str) -> None:
    app = quiet()
    async with app.run_test(size=(120, 40)) as pilot:
        exchange = make_exchange(name, name, f"| a |\n|---|\n| {name} |\n\n# {name}\n\n{name}\n")
        exchange.outcome, exchange.error = Outcome.FAILED, f"{name} failed"
        await app.screen.query_one(TranscriptView).add(exchange)
        await until(pilot, lambda: f"{name} failed" in _drawn(app))
        assert _drawn(app).count(name) >= 4


async def test_an_answer_is_seen_and_not_obeyed_while_it_is_written_and_after() -> None:
    app = quiet()
    async with app.run_test(size=(120, 50)) as pilot:
        exchange = make_exchange("?", OBEYED)
        answer = await app.screen.query_one(TranscriptView).add(exchange)
        exchange.pieces.append(f"{OBEYED} tail")
        answer._draw()
        await pilot.pause()
        assert f"{SEEN} tail" in _drawn(app)
        exchange.pieces.append(f"\n\n- {OBEYED} item\n\n```\n{OBEYED} code\n```\n\n| {OBEYED} cell |\n|---|\n| x |\n")
        usage = Usage(1, 1, 0)
        exchange.version.end = Finished(0, FinishReason.STOP, usage, Timings(0.0, 0.1, 0.1))
        exchange.outcome = Outcome.DONE
        answer._draw()
        await pilot.pause()
        drawn = _drawn(app)
        for where in ("tail", "item", "code", "cell"):
            assert f"{SEEN} {where}" in drawn
        assert not _obeyed(drawn)


async def test_newlines_of_windows_and_signs_in_two_pieces_are_whole() -> None:
    app = quiet()
    async with app.run_test(size=(80, 40)) as pilot:
        exchange = make_exchange("?", "m")
        answer = await app.screen.query_one(TranscriptView).add(exchange)
        await pilot.pause()
        flag = "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"
        for piece in ("a\r", "\nb 1\ufe0f", f"\u20e3 {flag[:2]}", flag[2:5], flag[5:]):
            exchange.pieces.append(piece)
            answer._draw()
            assert "\\" not in "\n".join(read(answer.text.document))
        assert "\n".join(read(answer.text.document)).startswith("a\nb 1\ufe0f\u20e3")


async def test_a_field_that_one_types_into_draws_nothing_that_is_obeyed() -> None:
    app = quiet()
    async with app.run_test(size=(80, 40)) as pilot:
        await app.screen.mount(Input(OBEYED), TextArea(OBEYED), Input(placeholder=OBEYED))
        await pilot.pause()
        assert not _obeyed(_drawn(app))


async def test_emoji_of_several_signs_are_drawn_whole() -> None:
    app = quiet()
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f"
    async with app.run_test(size=(80, 40)) as pilot:
        await app.screen.mount(Plain(family), Plain(f"{family} \x1b"))
        await pilot.pause()
        assert _drawn(app).count(family) == 2


async def test_the_clipboard_and_a_file_get_what_was_seen(tmp_path: Path, echo_app: BenchtopApp) -> None:
    async with echo_app.run_test(size=(80, 40)) as pilot:
        screen = chat_of(echo_app)
        exchange = screen.chat.ask("?")
        exchange.pieces.append(OBEYED)
        exchange.outcome = Outcome.DONE
        screen.action_copy_answer()
        assert echo_app.clipboard == SEEN
        base64.b64encode(echo_app.clipboard.encode())
        assert screen._write_export(str(tmp_path / "chat.md")) is None
        assert SEEN in (tmp_path / "chat.md").read_text(encoding="utf-8")
        await pilot.pause()


def test_styles_stay_on_the_words_they_were_on() -> None:
    content = make_drawable(Content.assemble(("a\x1bb", "bold"), "c\u202e", ("d", "red")))
    assert content.plain == r"a\x1bbc\u202ed"
    assert [(content.plain[span.start : span.end], span.style) for span in content.spans] == [
        (r"a\x1bb", "bold"),
        ("d", "red"),
    ]
