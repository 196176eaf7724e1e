"""Chat under a pilot: asking, stopping, going on, and what is drawn of it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from msgspec.structs import replace
from textual.events import Key, Paste
from textual.geometry import Offset
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.selection import Selection
from textual.widgets import Input

from core.conversations.tree import Outcome
from core.errors import LoadFailed
from core.events import CallArguments, CallBegun, CallEnded, Event, ReasoningDelta
from core.snapshots import RequestRow, RequestState
from tests.tui.conftest import chat_of, finished, notices, quiet, shown, until
from tests.tui.screens.chat.test_answer_document import read
from tests.tui.still import ANSWER, GUIDE, StillWorkbench
from tui.actions.registry import list_actions
from tui.app import BenchtopApp
from tui.screens.chat.answer import AnswerView
from tui.screens.chat.answer_text import AnswerText
from tui.screens.chat.calls import CallCard
from tui.screens.chat.composer import Composer
from tui.screens.chat.screen import ChatScreen
from tui.screens.chat.transcript import WINDOW_EXCHANGES, TranscriptView, Turn
from tui.widgets.gauge import Gauge


async def test_the_echo_model_answers_through_the_real_workbench(echo_app: BenchtopApp) -> None:
    async with echo_app.run_test() as pilot:
        await pilot.press(*"hello there", "enter")
        screen = chat_of(echo_app)
        await until(pilot, lambda: finished(screen))
        exchange = screen.chat.exchanges[0]
        assert exchange.answer == "hello there"
        assert exchange.outcome is Outcome.DONE
        await until(pilot, lambda: "tok" in shown(echo_app, ".stats"))
        assert "finished" in shown(echo_app, ".stats")


async def test_a_message_sent_while_the_model_loads_waits_for_it() -> None:
    gate = asyncio.Event()
    app = quiet(StillWorkbench(gate=gate))
    async with app.run_test() as pilot:
        await pilot.press(*"early", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: screen.query(AnswerView))
        assert "loading" in shown(app, ".stats")
        gate.set()
        await until(pilot, lambda: finished(screen))
        assert screen.chat.exchanges[0].outcome is Outcome.DONE


async def test_a_model_that_cannot_be_loaded_is_told_in_one_sentence() -> None:
    app = quiet(StillWorkbench((), problem=LoadFailed("guide", "The file guide.gguf is damaged; download it again.")))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.problem)
        assert notices(app) == ["The file guide.gguf is damaged; download it again."]
        await pilot.press(*"hello", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: finished(screen))
        await until(pilot, lambda: "damaged" in shown(app, ".stats"))


async def test_an_answer_is_drawn_as_markdown() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press(*"what is a KV cache?", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: finished(screen))
        await until(pilot, lambda: screen.query_one(AnswerView).settled)
        lines = read(screen.query_one(AnswerView).text.document)
        assert "• It grows with every token of the context." in lines
        assert any(line.startswith(" python") and line.endswith("copy") for line in lines)


async def test_a_thought_is_one_line_once_the_answer_begins_and_a_call_is_a_card() -> None:
    thought = [ReasoningDelta(0, f"step {number}\n") for number in range(5)]
    call: list[Event] = [CallBegun(0, 0, "call_1", "now"), CallArguments(0, 0, '{"zone": "CET"}'), CallEnded(0, 0)]
    app = quiet(StillWorkbench(before=[*thought, *call]))
    async with app.run_test() as pilot:
        await pilot.press(*"when?", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: finished(screen))
        await until(pilot, lambda: shown(app, ".thought") == "▸ thought for 10 words")
        card = screen.query_one(CallCard)
        await until(pilot, lambda: str(card.render()) == "zone: CET")
        assert card.border_title == "now"
        exchange = screen.chat.exchanges[0]
        assert (exchange.answer, exchange.thought.splitlines()[-1]) == (ANSWER, "step 4")


async def test_the_end_of_a_thought_is_shown_while_it_goes_on() -> None:
    thought = [ReasoningDelta(0, f"step {number}\n") for number in range(5)]
    app = quiet(StillWorkbench(answer="", before=thought, hold_stream=True))
    async with app.run_test() as pilot:
        await pilot.press(*"when?", "enter")
        await until(pilot, lambda: "step" in shown(app, ".thought"))
        assert shown(app, ".thought") == "step 0\nstep 1"


async def test_escape_stops_an_answer_and_keeps_what_was_said() -> None:
    still = StillWorkbench(hold_stream=True)
    app = quiet(still)
    async with app.run_test() as pilot:
        await pilot.press(*"go on", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: screen.chat.exchanges and screen.chat.exchanges[0].pieces)
        await pilot.press("escape")
        await until(pilot, lambda: finished(screen))
        assert still.cancelled == ["req-1"]
        assert screen.chat.exchanges[0].outcome is Outcome.STOPPED
        assert screen.chat.exchanges[0].answer
        await until(pilot, lambda: shown(app, ".stats") == "stopped")


async def test_a_second_message_waits_in_the_field_while_an_answer_is_written() -> None:
    app = quiet(StillWorkbench(hold_stream=True))
    async with app.run_test() as pilot:
        await pilot.press(*"one", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: screen.chat.exchanges and screen.chat.exchanges[0].pieces)
        await pilot.press(*"two", "enter")
        await pilot.pause()
        assert screen.query_one(Composer).text == "two"
        assert len(screen.chat.exchanges) == 1


async def test_the_second_question_carries_the_first_exchange() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        screen = chat_of(app)
        for number, text in enumerate(("one", "two"), 1):
            await pilot.press(*text, "enter")
            await until(pilot, partial(finished, screen, number))
        prompt = still.asked[1].prompt
        assert [message.role.value for message in prompt.messages] == ["user", "assistant", "user"]  # type: ignore[union-attr]


async def test_an_answer_can_be_asked_for_again() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(still.asked) == 2 and finished(screen))
        assert len(screen.query(Turn)) == 1


async def test_an_answer_that_another_took_the_place_of_comes_back() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("alt+r")
        assert any("no other answer" in notice for notice in notices(app))
        still.answer = "Quite another answer."
        await pilot.press("ctrl+r")
        await until(pilot, lambda: len(still.asked) == 2 and finished(screen))
        await pilot.press("alt+r")
        await until(pilot, lambda: screen.query_one(Turn).exchange.answer == ANSWER)
        assert screen.chat.last_answer == ANSWER
        await pilot.press("alt+r")
        await until(pilot, lambda: screen.query_one(Turn).exchange.answer == "Quite another answer.")
        assert len(screen.query(Turn)) == 1


async def test_the_welcome_names_the_model_in_use_and_says_whether_words_leave_the_machine() -> None:
    app = quiet(StillWorkbench((GUIDE, replace(GUIDE, name="far-away", engine="remote"))))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        app.pulse()
        assert "Ask guide something" in shown(app, "#welcome")
        assert "nothing leaves this machine" in shown(app, "#welcome")
        app.desk.use("far-away")
        app.pulse()
        assert "Ask far-away something" in shown(app, "#welcome")
        assert "is sent there" in shown(app, "#welcome")


async def test_no_model_and_a_model_that_tells_no_context_are_told_apart() -> None:
    still = StillWorkbench((replace(GUIDE, context=None),))
    still.gate = asyncio.Event()
    app = quiet(still)
    async with app.run_test() as pilot:
        screen = chat_of(app)
        assert "no model yet" in str(screen.query_one("#context").render())
        still.gate.set()
        await until(pilot, lambda: app.desk.ready)
        app.pulse()
        assert "0 tokens" in str(screen.query_one("#context").render())
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        assert "139 tokens" in str(screen.query_one("#context").render())


async def test_a_new_chat_forgets_the_old_one() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not screen.query(Turn))
        assert screen.chat.exchanges == []
        assert screen.query_one("#welcome").display


PRINTABLE = "1?nrysei4N/ ä"


@pytest.mark.parametrize(
    ("elsewhere", "letters"),
    [
        ("escape", PRINTABLE),
        ("click on the answer", PRINTABLE[:3]),
        ("click on the question", PRINTABLE[:3]),
        ("tab", PRINTABLE[:3]),
        ("click beside", PRINTABLE[:3]),
    ],
)
async def test_whatever_is_typed_goes_to_the_message_wherever_the_focus_is(elsewhere: str, letters: str) -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test(size=(100, 40)) as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        composer = screen.query_one(Composer)
        await _leave(pilot, elsewhere)
        there = app.focused
        assert there is None or [key for key in there._bindings.key_to_bindings if len(key) == 1] == []
        for letter in letters:
            screen.set_focus(there)
            await pilot.pause(0)
            assert not composer.has_focus
            await pilot.press(_key(letter))
            assert composer.has_focus, letter
        assert composer.text == letters
        assert app.screen is screen
        assert len(screen.chat.exchanges) == len(still.asked) == 1


async def _leave(pilot: Pilot[None], how: str) -> None:
    """Take the focus from the message."""
    if how in ("escape", "tab"):
        await pilot.press(how if how == "escape" else "ctrl+l")
        if how == "tab":
            pilot.app.screen.focus_next()
    else:
        target = {
            "click on the answer": "AnswerView",
            "click on the question": ".question",
            "click beside": "#transcript",
        }
        await pilot.click(target[how])
    await pilot.pause()


def _key(letter: str) -> str:
    return _character_to_key(letter)


async def test_what_is_pasted_after_a_click_elsewhere_goes_to_the_message_once() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        composer = app.screen.query_one(Composer)
        await pilot.press("escape")
        app.post_message(Paste("n\nyes"))
        await until(pilot, lambda: composer.text)
        assert composer.text == "n\nyes"
        app.post_message(Paste("!"))
        await until(pilot, lambda: composer.text.endswith("!"))
        assert composer.text == "n\nyes!"


def test_no_key_of_chat_alone_is_a_character() -> None:
    keys = [key for action in list_actions("chat") for key in action.keys]
    assert [key for key in keys if len(key) == 1] == []


async def test_letters_in_a_dialog_stay_there() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen.is_modal)
        await pilot.press("end", "n")
        assert app.screen.query_one(Input).value.endswith(".mdn")
        await pilot.press("escape", "f5", "x")
        await pilot.pause()
        assert screen.query_one(Composer).text == ""


async def test_a_chat_put_away_comes_back_with_all_that_was_said() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not screen.query(Turn))
        await pilot.press(*"two", "enter")
        await until(pilot, lambda: finished(screen))
        for question in ("one", "two", "one"):
            await pilot.press("alt+n")
            await until(pilot, partial(_shows, screen, question))
        assert isinstance(app.focused, Composer)


async def test_a_letter_with_alt_is_a_key_and_not_written_as_terminals_send_it() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("ctrl+n", "x")
        # A terminal sends the letter along; a pilot does not.
        app.post_message(Key("alt+n", "n"))
        await until(pilot, partial(_shows, screen, "one"))
        app.post_message(Key("alt+a", "a"))
        app.post_message(Key("alt+1", "1"))
        await until(pilot, lambda: app.current_mode == "models")
        assert screen.query_one(Composer).text == "x"


def _shows(screen: ChatScreen, question: str) -> bool:
    turns = list(screen.query(Turn))
    return [turn.exchange.question for turn in turns] == [each.question for each in screen.chat.exchanges] == [question]


async def test_page_up_at_the_top_of_a_long_chat_brings_back_what_was_put_away() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test() as pilot:
        screen = chat_of(app)
        for number in range(1, WINDOW_EXCHANGES + 4):
            screen.query_one(Composer).text = f"question {number}"
            await pilot.press("enter")
            await until(pilot, partial(finished, screen, number))
        for _ in range(40):
            await pilot.press("pageup")
            if len(screen.query(Turn)) == WINDOW_EXCHANGES + 3:
                break
        else:
            raise AssertionError("What was put away did not come back.")


async def test_the_last_answer_goes_to_the_clipboard() -> None:
    app = quiet(StillWorkbench(answer="forty-two"))
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert app.clipboard == "forty-two"


async def test_a_chat_is_exported_and_no_file_is_overwritten(tmp_path: Path) -> None:
    app = quiet(StillWorkbench(answer="forty-two"))
    taken, free = tmp_path / "taken.md", tmp_path / "free.md"
    taken.write_text("mine")
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: app.screen.is_modal)
        app.screen.query_one(Input).value = str(taken)
        await pilot.press("enter")
        await pilot.pause()
        assert "exists already" in shown(app, ".problem")
        app.screen.query_one(Input).value = str(free)
        await pilot.press("enter")
        await until(pilot, lambda: not app.screen.is_modal)
    assert taken.read_text() == "mine"
    assert "forty-two" in free.read_text()


async def test_a_long_chat_keeps_few_turns_mounted_and_brings_the_others_back() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test() as pilot:
        screen = chat_of(app)
        for number in range(1, WINDOW_EXCHANGES + 4):
            screen.query_one(Composer).text = f"question {number}"
            await pilot.press("enter")
            await until(pilot, partial(finished, screen, number))
        assert len(screen.query(Turn)) == WINDOW_EXCHANGES
        await pilot.press("escape", "alt+e")
        await until(pilot, lambda: len(screen.query(Turn)) == WINDOW_EXCHANGES + 3)
        assert screen.query(Turn).first().exchange.question == "question 1"


async def test_sending_a_message_goes_to_the_newest_line() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        screen = chat_of(app)
        transcript = screen.query_one(TranscriptView)
        for number in (1, 2):
            screen.query_one(Composer).text = "again"
            await pilot.press("enter")
            await until(pilot, partial(finished, screen, number))
        await until(pilot, lambda: transcript.max_scroll_y > 0 and transcript.following)
        await pilot.press("pageup")
        await until(pilot, lambda: not transcript.following)
        screen.query_one(Composer).text = "and more"
        await pilot.press("enter")
        await until(pilot, partial(finished, screen, 3))
        await until(pilot, lambda: transcript.following)


async def test_nothing_is_drawn_while_the_reader_is_on_another_screen() -> None:
    app = quiet(StillWorkbench(hold_stream=True))
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"go on", "enter")
        await until(pilot, lambda: screen.query(AnswerView) and screen.query_one(AnswerView).text.document.height)
        assert not screen.query_one(TranscriptView).away()
        await pilot.press("f3")
        await until(pilot, lambda: app.current_mode == "serve")
        assert screen.query_one(TranscriptView).away()


async def test_while_all_processors_are_busy_an_answer_is_drawn_half_as_often() -> None:
    app = quiet(StillWorkbench(hold_stream=True))
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"go on", "enter")
        await until(pilot, lambda: screen.query(AnswerView) and screen.query_one(AnswerView).text.document.height)
        answer = screen.query_one(AnswerView)
        assert answer._timer is not None
        answer._timer.pause()
        before = answer._ticks
        answer.show_progress(RequestRow("req-1", "guide", RequestState.DECODE, 10), GUIDE, busy=True)
        drawn = []
        for number in range(4):
            answer.exchange.pieces.append(f"\n\nmore {number}")
            answer.tick()
            drawn.append(answer._taken == len(answer.exchange.pieces))
        assert drawn == [(before + number) % 2 == 1 for number in range(4)]


async def test_a_long_answer_has_no_more_widgets_than_a_short_one() -> None:
    counts = []
    for answer in ("one\n", ANSWER * 20):
        app = quiet(StillWorkbench(answer=answer))
        async with app.run_test() as pilot:
            screen = chat_of(app)
            await pilot.press(*"go", "enter")
            await until(pilot, lambda screen=screen: finished(screen) and screen.query_one(AnswerView).settled)  # type: ignore[misc]
            counts.append(len(screen.query_one(TranscriptView).query("*")))
    assert counts[0] == counts[1]


async def test_a_text_that_grows_has_the_screen_laid_out_once_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    app = quiet(StillWorkbench(answer="one"))
    async with app.run_test(size=(80, 24)) as pilot:
        screen = chat_of(app)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: finished(screen))
        answer = screen.query_one(TranscriptView).newest
        assert answer is not None
        await until(pilot, lambda: answer.settled)
        reflow = Mock(wraps=screen._compositor.reflow)
        monkeypatch.setattr(screen._compositor, "reflow", reflow)
        for number in range(1, 30):
            answer.text.take("more words\n\n")
            await until(pilot, lambda number=number: answer.text.size.height >= 2 * number)  # type: ignore[misc]
            await pilot.pause()
        # Once more where the scrollbar comes.
        assert reflow.call_count <= 31
        assert screen.query_one(TranscriptView).following


async def test_a_click_on_the_word_above_code_copies_that_code_alone() -> None:
    app = quiet()
    async with app.run_test(size=(80, 40)) as pilot:
        screen = chat_of(app)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: finished(screen) and screen.query_one(AnswerView).settled)
        await pilot.pause()
        text = screen.query_one(AnswerText)
        at = next(at for at, line in enumerate(text.document.lines) if line.copies is not None)
        await pilot.click(AnswerText, offset=(text.size.width - 3, at))
        await pilot.pause()
        assert app.clipboard == "bytes = 2 * layers * kv_heads * head_dim * context * 2"


async def test_what_is_chosen_in_an_answer_is_copied_and_the_key_stops_nothing() -> None:
    app = quiet(StillWorkbench(hold_stream=True))
    async with app.run_test(size=(80, 40)) as pilot:
        screen = chat_of(app)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: screen.query(AnswerView) and screen.query_one(AnswerView).text.document.height)
        screen.selections = {screen.query_one(AnswerText): Selection(Offset(2, 0), Offset(10, 0))}
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert app.clipboard == "KV cache"
        assert screen.writing


async def test_the_context_gauge_warns_before_the_context_is_full() -> None:
    small = StillWorkbench((replace(GUIDE, context=160),))
    app = quiet(small)
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await until(pilot, lambda: app.desk.ready)
        app.pulse()
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.pause()
        assert any("21 tokens are left" in notice for notice in notices(app))
        assert "139 of 160 tokens" in str(screen.query_one("#context").render())


async def test_the_context_gauge_counts_an_answer_while_it_is_written_and_after_it_was_stopped() -> None:
    still = StillWorkbench(hold_stream=True)
    app = quiet(still)
    async with app.run_test() as pilot:
        await pilot.press(*"go on", "enter")
        screen = chat_of(app)
        await until(pilot, lambda: screen.chat.exchanges and screen.chat.exchanges[0].pieces)
        row = RequestRow("req-1", "guide", RequestState.DECODE, prompt_tokens=42, completion_tokens=30)
        still.shown = (replace(GUIDE, requests=(row,)),)
        app.pulse()
        gauge = screen.query_one("#context", Gauge)
        await until(pilot, lambda: "72 of 2,048 tokens" in str(gauge.render()))
        await pilot.press("escape")
        await until(pilot, lambda: finished(screen))
        assert "72 of 2,048 tokens" in str(gauge.render())
