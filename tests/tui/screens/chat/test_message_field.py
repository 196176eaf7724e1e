"""The message under a pilot: earlier messages, files behind an `@`, pastes that become chips."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from textual.events import Paste

from core.requests import Conversation
from tests.tui.conftest import chat_of, finished, notices, quiet, until
from tests.tui.still import StillWorkbench
from tui.app import BenchtopApp
from tui.screens.chat.composer import Composer
from tui.screens.chat.writing.chips import Chip, OpenedText

PASTED = "\n".join(f"line {number} of a log" for number in range(1, 201))


def _composer(app: BenchtopApp) -> Composer:
    return app.screen.query_one(Composer)


def _chips(app: BenchtopApp) -> list[str]:
    return [str(chip.render()) for chip in app.screen.query(Chip)]


def _asked(still: StillWorkbench, number: int = -1) -> str:
    prompt = still.asked[number].prompt
    assert isinstance(prompt, Conversation)
    return prompt.messages[-1].text


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "sums.py").write_text("total = 1 + 1\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_up_and_down_walk_through_earlier_messages_and_keep_the_draft() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test() as pilot:
        screen = chat_of(app)
        for number, keys in enumerate(([*"one"], [*"two", "ctrl+j", *"lines"]), 1):
            await pilot.press(*keys, "enter")
            await until(pilot, partial(finished, screen, number))
        await pilot.press(*"draft", "up")
        assert _composer(app).text == "two\nlines"
        await pilot.press("up", "up")
        assert _composer(app).text == "one"
        await pilot.press("down", "down")
        assert _composer(app).text == "draft"
        await pilot.press("down", "!")
        assert _composer(app).text == "draft!"


async def test_up_within_a_message_moves_the_cursor() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press(*"a", "ctrl+j", *"b", "up", "X")
        assert _composer(app).text == "aX\nb"


async def test_a_file_is_completed_and_its_text_goes_to_the_model(here: Path) -> None:
    still = StillWorkbench(answer="ok")
    app = quiet(still)
    async with app.run_test() as pilot:
        # The keys come as one burst: the folder and the file are still looked for while later ones arrive.
        await pilot.press(*"explain @sr", "enter", "enter")
        await until(pilot, lambda: _chips(app) == ["src/sums.py · 5 tok ✗"])
        assert _composer(app).text == "explain "
        await pilot.press("enter")
        await until(pilot, lambda: finished(chat_of(app)))
        assert _asked(still) == "src/sums.py:\n```py\ntotal = 1 + 1\n```\n\nexplain"
        assert _chips(app) == []


async def test_a_binary_file_is_refused_in_words_and_the_message_stays(here: Path) -> None:
    still = StillWorkbench(answer="ok")
    app = quiet(still)
    async with app.run_test() as pilot:
        await pilot.press(*"see @pic", "tab")
        await until(pilot, lambda: notices(app))
        assert notices(app) == ["picture.png is no text but a binary file; choose a text file."]
        assert _composer(app).text == "see "


async def test_escape_closes_the_offer_and_a_word_with_an_at_sign_is_sent_as_it_is(here: Path) -> None:
    still = StillWorkbench(answer="ok")
    app = quiet(still)
    async with app.run_test() as pilot:
        await pilot.press(*"@src")
        await until(pilot, lambda: app.screen.query_one("#files").display)
        await pilot.press("escape")
        assert not app.screen.query_one("#files").display
        assert _composer(app).has_focus
        await pilot.press("enter")
        await until(pilot, lambda: finished(chat_of(app)))
        await pilot.press(*"@nobody", "enter")
        await until(pilot, lambda: finished(chat_of(app), 2))
        assert [_asked(still, number) for number in (0, 1)] == ["@src", "@nobody"]


async def test_a_paste_of_200_lines_becomes_a_chip_counted_by_the_models_tokenizer(echo_app: BenchtopApp) -> None:
    async with echo_app.run_test() as pilot:
        await pilot.press("escape")
        echo_app.post_message(Paste(PASTED))
        await until(pilot, lambda: any("tok" in chip for chip in _chips(echo_app)))
        model = await echo_app.desk.until_ready()
        async with echo_app.desk.workbench.requests.reading(model) as reader:
            tokens = len(await reader.encode(PASTED, "messages", special=False, begin=False))
        assert _chips(echo_app) == [f"pasted 200 lines · {tokens:,} tok ✗"]
        assert _composer(echo_app).text == ""
        await pilot.press("enter")
        await until(pilot, lambda: finished(chat_of(echo_app)))
        assert chat_of(echo_app).chat.exchanges[0].answer == f"```\n{PASTED}\n```"


async def test_a_chip_is_opened_and_removed_by_keys_and_by_clicks() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(3):
            app.post_message(Paste(PASTED))
            await pilot.pause()
        await until(pilot, lambda: len(_chips(app)) == 3)
        await pilot.press("shift+tab", "enter")
        await until(pilot, lambda: isinstance(app.screen, OpenedText))
        assert "pasted 200 lines" in str(app.screen.query_one(".dialog").border_title)
        await pilot.press("delete")
        await until(pilot, lambda: len(_chips(app)) == 2)
        assert _composer(app).has_focus
        await pilot.click(Chip, offset=(2, 0))
        await until(pilot, lambda: isinstance(app.screen, OpenedText))
        await pilot.press("escape")
        chip = app.screen.query(Chip).first()
        await pilot.click(Chip, offset=(chip.size.width, 0))
        await until(pilot, lambda: len(_chips(app)) == 1)
        await pilot.press("backspace")
        await until(pilot, lambda: _chips(app) == [])
        assert not app.screen.query_one("#chips").display


async def test_letters_typed_on_a_chip_go_to_the_message() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        app.post_message(Paste(PASTED))
        await until(pilot, lambda: _chips(app))
        await pilot.press("shift+tab", *"x is it?")
        assert _composer(app).text == "x is it?"
