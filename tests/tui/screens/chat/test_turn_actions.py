"""What is done to one turn: its question asked otherwise, its versions, an answer gone on with."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual.events import Key

from core.conversations.tree import Outcome
from core.requests import Conversation, Role
from tests.tui.conftest import chat_of, finished, notices, quiet, shown, until
from tests.tui.still import StillWorkbench
from tui.screens.chat.composer import Composer
from tui.screens.chat.transcript import TranscriptView, Turn

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tui.screens.chat.screen import ChatScreen


async def ask(pilot: Pilot[None], screen: ChatScreen, question: str, number: int) -> None:
    screen.query_one(Composer).text = question
    await pilot.press("enter")
    await until(pilot, partial(finished, screen, number))


def questions(screen: ChatScreen) -> list[str]:
    """As they are on the screen."""
    return [turn.exchange.question for turn in screen.query(Turn)]


async def test_an_edited_question_takes_the_place_of_the_old_one_which_is_kept() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test(size=(80, 40)) as pilot:
        screen = chat_of(app)
        for number, question in enumerate(("one", "two", "three"), 1):
            await ask(pilot, screen, question, number)
        await pilot.press("alt+up", "alt+u")
        composer = screen.query_one(Composer)
        assert (composer.text, composer.border_title) == (
            "two",
            "in place of the question; escape leaves that as it is",
        )
        await pilot.press(*" more", "enter")
        assert not composer.border_title
        await until(pilot, lambda: finished(screen, 2))
        assert questions(screen) == ["one", "two more"]
        await until(pilot, lambda: len(screen.query(Turn)) == 2)
        assert str(screen.query(".versions").last().render()) == "[ question 2 of 2 ]"
        await pilot.press("escape", "left_square_bracket")
        await until(pilot, lambda: questions(screen) == ["one", "two", "three"])


async def test_escape_ends_the_editing_and_what_is_sent_then_is_a_question_of_its_own() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test(size=(80, 40)) as pilot:
        screen = chat_of(app)
        await ask(pilot, screen, "one", 1)
        await pilot.press("alt+u", "escape")
        assert screen.query_one(Composer).text == ""
        await ask(pilot, screen, "two", 2)
        assert questions(screen) == ["one", "two"]


async def test_brackets_go_through_the_answers_and_are_written_where_a_message_is_begun() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test(size=(80, 40)) as pilot:
        screen = chat_of(app)
        await ask(pilot, screen, "one", 1)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: finished(screen) and shown(app, ".versions") == "[ answer 2 of 2 ]")
        await pilot.press("escape", "left_square_bracket")
        await until(pilot, lambda: shown(app, ".versions") == "[ answer 1 of 2 ]")
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: shown(app, ".versions") == "[ answer 2 of 2 ]")
        await pilot.press("a", "left_square_bracket")
        assert screen.query_one(Composer).text == "a["


async def test_a_stopped_answer_is_gone_on_with_where_it_ended() -> None:
    still = StillWorkbench(answer="first half, second half", hold_stream=True)
    app = quiet(still)
    async with app.run_test(size=(80, 40)) as pilot:
        screen = chat_of(app)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: screen.chat.exchanges and screen.chat.exchanges[0].pieces)
        await pilot.press("escape")
        await until(pilot, lambda: finished(screen))
        begun = screen.chat.exchanges[0].answer
        still.hold_stream, still.answer = False, " and the rest"
        await pilot.press("alt+g")
        await until(pilot, lambda: finished(screen) and screen.chat.exchanges[0].outcome is Outcome.DONE)
        prompt = still.asked[-1].prompt
        assert isinstance(prompt, Conversation)
        assert prompt.continued
        assert (prompt.messages[-1].role, prompt.messages[-1].text) == (Role.ASSISTANT, begun)
        assert screen.chat.exchanges[0].answer == f"{begun} and the rest"
        answer = screen.query_one(TranscriptView).newest
        assert answer is not None
        await until(pilot, lambda: answer.settled)
        assert f"{begun} and the rest" in answer.text.document.extract(None, None)


async def test_the_footer_names_what_there_is_something_for_and_always_the_help() -> None:
    still = StillWorkbench(answer="first half, second half", hold_stream=True)
    app = quiet(still)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = chat_of(app)

        def footer() -> str:
            return screen._compositor.render_strips()[-1].text

        await until(pilot, lambda: "F5 help" in footer())
        assert not {"again", "copy", "go on", "stop", "new"} & {*footer().split()}
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: screen.chat.exchanges and screen.chat.exchanges[0].pieces)
        await pilot.press("escape")
        await until(pilot, lambda: finished(screen) and "alt+g go on" in footer())
        still.hold_stream, still.answer = False, " and the rest"
        await pilot.press("alt+g")
        await until(pilot, lambda: finished(screen) and screen.chat.exchanges[0].outcome is Outcome.DONE)
        await until(pilot, lambda: "go on" not in footer())
        assert "^n new alt+l chats ^r again ^o copy ^q quit F1-4 screens F5 help" in footer()


async def test_an_answer_that_came_to_its_own_end_is_not_gone_on_with() -> None:
    app = quiet(StillWorkbench(answer="ok"))
    async with app.run_test(size=(80, 40)) as pilot:
        screen = chat_of(app)
        await ask(pilot, screen, "one", 1)
        await pilot.press("alt+g")
        assert "The last answer came to its own end; ctrl+r asks for another." in notices(app)


async def test_the_key_of_an_action_that_is_not_to_be_had_now_writes_no_letter() -> None:
    app = quiet(StillWorkbench(hold_stream=True))
    async with app.run_test() as pilot:
        screen = chat_of(app)
        await pilot.press(*"go", "enter")
        await until(pilot, lambda: screen.writing)
        app.post_message(Key("alt+u", "u"))
        await pilot.pause()
        assert screen.query_one(Composer).text == ""
