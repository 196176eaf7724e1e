"""Conversations in the chat: kept, listed, searched, opened, forked, deleted and back, and there at the next start."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Input

from core.conversations.settings import ChatSettings
from core.conversations.store import ConversationStore
from core.conversations.tree import AnswerWriter, ConversationTree, Outcome, make_id
from core.events import Usage
from core.settings.schema import ProbeSettings, ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.support import folders_in
from tests.tui.conftest import chat_of, finished, notices, quiet, shown, until
from tests.tui.still import ANSWER, StillWorkbench
from tui.app import BenchtopApp
from tui.screens.chat.composer import Composer
from tui.screens.chat.conversation_list import ConversationPane, ConversationRows, describe_age
from tui.screens.chat.transcript import Turn
from tui.screens.chat.writing.chips import Chip
from tui.widgets.row_list import List

WIDE = (120, 40)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    made = ConversationStore(tmp_path)
    yield made
    made.close()


def converse(store: ConversationStore, *questions: str) -> str:
    keeper = store.begin(ConversationTree(make_id()))
    for question in questions:
        answer = keeper.tree.ask(question, time.time(), AnswerWriter("guide")).answers[0]
        answer.pieces.append(question.upper())
        answer.outcome = Outcome.DONE
    keeper.keep()
    assert store.flush(60.0)
    return keeper.tree.id


def app_over(store: ConversationStore | None, **workbench: bool) -> BenchtopApp:
    return quiet(StillWorkbench(conversations=store, hold_stream=workbench.get("hold_stream", False)))


async def ready(pilot: Pilot[None], app: BenchtopApp, chats: int | None = None) -> ConversationRows:
    """The list beside the chat, once it has so many lines."""
    await until(pilot, lambda: app.desk.ready)
    rows = app.screen.query_one(ConversationRows)
    if chats is not None:
        await until(pilot, lambda: len(rows.rows) == chats)
    return rows


def asked(app: BenchtopApp) -> list[str]:
    return [exchange.question for exchange in chat_of(app).chat.exchanges]


async def test_the_last_conversation_is_there_again_at_the_start(store: ConversationStore) -> None:
    converse(store, "earlier")
    app = app_over(store)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready and asked(app) == ["earlier"])
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(chat_of(app), 2))
    assert store.flush(60.0)
    again = app_over(ConversationStore(store.path.parent))
    async with again.run_test() as pilot:
        await until(pilot, lambda: asked(again) == ["earlier", "one"])
        await until(pilot, lambda: len(again.screen.query(Turn)) == 2)
        assert chat_of(again).chat.last_answer == ANSWER
        assert chat_of(again).chat.tokens == 139


async def test_up_walks_to_what_was_asked_before_the_start_this_conversation_first(store: ConversationStore) -> None:
    older, _ = converse(store, "mine", "yours"), converse(store, "other")
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app, 2)
        composer = chat_of(app).query_one(Composer)
        await until(pilot, lambda: composer.earlier.messages == ("mine", "yours", "other"))
        chat = await chat_of(app).shelf.open(older)
        assert chat is not None
        await chat_of(app).turn_to(chat)
        await pilot.press("up", "up")
        assert composer.text == "mine"


async def test_settings_and_attachments_are_there_again(store: ConversationStore) -> None:
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: app.desk.ready)
        chat_of(app).set_settings(ChatSettings(temperature=0.1))
        app.post_message(Paste("\n".join(["word"] * 30)))
        await until(pilot, lambda: chat_of(app).query(Chip))
        await pilot.press(*"why?", "enter")
        await until(pilot, lambda: finished(chat_of(app)))
    again = app_over(store)
    async with again.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: asked(again) == ["why?"])
        assert chat_of(again).settings == ChatSettings(temperature=0.1)
        assert "pasted 30 lines" in shown(again, ".attached")


async def test_what_was_written_and_not_sent_is_there_again_after_quitting(store: ConversationStore) -> None:
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app)
        await until(pilot, lambda: not [each for each in app.workers if each.group == "restore"])
        app.post_message(Paste("\n".join(["word"] * 30)))
        await until(pilot, lambda: chat_of(app).query(Chip))
        await pilot.press(*"not yet", "ctrl+q")
    again = app_over(store)
    async with again.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: chat_of(again).query_one(Composer).text == "not yet")
        assert len(chat_of(again).query(Chip)) == 1
        await pilot.press("enter")
        await until(pilot, lambda: finished(chat_of(again)))
        again.pulse()
        assert not store.take_draft().says_something


async def test_a_question_that_is_asked_at_once_is_not_replaced_by_the_last_conversation(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    converse(store, "earlier")
    look, slow = store.open, threading.Event()
    monkeypatch.setattr(store, "open", lambda conversation: (slow.wait(), look(conversation))[1])
    app = app_over(store)
    async with app.run_test() as pilot:
        await pilot.press(*"now", "enter")
        await until(pilot, lambda: finished(chat_of(app)))
        slow.set()
        await until(pilot, lambda: not [each for each in app.workers if each.group == "restore"])
        assert asked(app) == ["now"]
        await until(pilot, lambda: [line.title for line in store.list_lines()] == ["now", "earlier"])


async def test_the_question_is_kept_before_the_answer_begins(store: ConversationStore) -> None:
    still = StillWorkbench(conversations=store)
    kept: list[str] = []
    submit = still.submit

    async def look_first(request):  # type: ignore[no-untyped-def]
        kept.extend(line.title for line in ConversationStore(store.path.parent).list_lines())
        return await submit(request)

    still.submit = look_first  # type: ignore[method-assign]
    app = quiet(still)
    async with app.run_test() as pilot:
        await pilot.press(*"what now?", "enter")
        await until(pilot, lambda: finished(chat_of(app)))
    assert kept == ["what now?"]


async def test_the_list_beside_the_chat_opens_renames_and_deletes_with_undo(store: ConversationStore) -> None:
    converse(store, "oaks")
    converse(store, "elms")
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        rows = await ready(pilot, app, 2)
        await until(pilot, lambda: asked(app) == ["elms"])
        await pilot.press("alt+l", "down", "down", "enter")
        await until(pilot, lambda: asked(app) == ["oaks"])
        await pilot.pause()
        assert chat_of(app).query_one(Composer).has_focus
        await pilot.press("alt+l", "down", "r")
        await until(pilot, lambda: app.screen.is_modal)
        app.screen.query_one(Input).value = "Old trees"
        await pilot.press("enter")
        await until(pilot, lambda: [line.title for line in rows.rows] == ["elms", "Old trees"])
        await pilot.press("d")
        await until(pilot, lambda: len(rows.rows) == 1)
        assert asked(app) == []
        assert any("u in the list brings it back" in notice for notice in notices(app))
        rows.focus()
        await pilot.press("u")
        await until(pilot, lambda: [line.title for line in rows.rows] == ["elms", "Old trees"])


async def test_what_is_typed_into_the_search_narrows_the_list_and_shows_what_was_found(
    store: ConversationStore,
) -> None:
    converse(store, "How tall is an oak?", "and an elm?")
    converse(store, "What is a cache?")
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        rows = await ready(pilot, app, 2)
        await pilot.press("alt+l", *'elm "')
        await until(pilot, lambda: [line.title for line in rows.rows] == ["How tall is an oak?"])
        assert shown(app, "#conversations .found") == "AND AN ELM?"
        await pilot.press("enter")
        await until(pilot, lambda: asked(app) == ["How tall is an oak?", "and an elm?"])
        await pilot.press("alt+l", "escape")
        await until(pilot, lambda: len(rows.rows) == 2)


async def test_at_80_columns_the_list_is_a_dialog(store: ConversationStore) -> None:
    converse(store, "oaks")
    converse(store, "elms")
    app = app_over(store)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready and asked(app) == ["elms"])
        assert not app.screen.query_one(ConversationPane).size.width
        await pilot.press("alt+l")
        await until(pilot, lambda: app.screen.is_modal and len(app.screen.query_one(ConversationRows).rows) == 2)
        await pilot.press(*"oak", "enter")
        await until(pilot, lambda: not app.screen.is_modal and asked(app) == ["oaks"])


async def test_a_fork_is_a_conversation_of_its_own_up_to_the_question_that_was_chosen(store: ConversationStore) -> None:
    whole = converse(store, "one", "two", "three")
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app, 1)
        await until(pilot, lambda: len(asked(app)) == 3)
        await pilot.press("alt+d")
        await until(pilot, lambda: app.screen.is_modal)
        await until(pilot, lambda: app.screen.query_one(List).at == 2)
        await pilot.press("up", "enter")
        await until(pilot, lambda: not app.screen.is_modal and asked(app) == ["one", "two"])
        assert chat_of(app).shown != whole
        await until(pilot, lambda: sorted(line.turns for line in store.list_lines()) == [2, 3])


async def test_a_new_chat_while_an_answer_is_written_keeps_what_there_is_of_it(store: ConversationStore) -> None:
    app = app_over(store, hold_stream=True)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press(*"go on", "enter")
        await until(pilot, lambda: chat_of(app).chat.last_answer)
        said = chat_of(app).chat.last_answer
        await pilot.press("ctrl+n")
        await until(pilot, lambda: asked(app) == [])
        await pilot.press("alt+n")
        await until(pilot, lambda: asked(app) == ["go on"])
        (line,) = store.list_lines()
        kept = store.read(line.id)
        assert kept is not None
        assert (kept.path()[0].answer.text, kept.path()[0].answer.outcome) == (said, Outcome.STOPPED)


async def test_what_another_program_adds_is_seen_in_the_list_and_in_the_chat(store: ConversationStore) -> None:
    shared = converse(store, "one")
    other = ConversationStore(store.path.parent)
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        rows = await ready(pilot, app, 1)
        await until(pilot, lambda: asked(app) == ["one"])
        keeper = other.open(shared)
        assert keeper is not None
        answer = keeper.tree.ask("two", time.time() + 1).answers[0]
        answer.pieces.append("Two.")
        answer.outcome = Outcome.DONE
        keeper.keep()
        converse(other, "elsewhere")
        app.pulse()
        await until(pilot, lambda: asked(app) == ["one", "two"] and len(rows.rows) == 2)
        await until(pilot, lambda: len(app.screen.query(Turn)) == 2)
    other.close()


async def test_what_another_program_deletes_is_not_kept_anew_by_the_chat_that_shows_it(
    store: ConversationStore,
) -> None:
    shared = converse(store, "one")
    other = ConversationStore(store.path.parent)
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        rows = await ready(pilot, app, 1)
        await until(pilot, lambda: asked(app) == ["one"])
        other.delete([shared])
        other.close()
        app.pulse()
        await until(pilot, lambda: not rows.rows)
        await until(pilot, lambda: not [each for each in app.workers if each.group == "catch-up"])
        app.pulse()
        assert store.list_lines() == []
        assert asked(app) == ["one"]


async def test_a_chat_that_was_let_go_and_read_again_loses_no_word_in_either(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.chat.shelf.MOST_HELD_CHATS", 1)
    first, second = converse(store, "one"), converse(store, "two")
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        await ready(pilot, app, 2)
        shelf = chat_of(app).shelf
        earlier = await shelf.open(first)
        await shelf.open(second)
        again = await shelf.open(first)
        assert earlier is not None
        assert again is not None
        assert again is not earlier
        for chat, question in ((earlier, "here"), (again, "there")):
            chat.ask(question).outcome = Outcome.DONE
            shelf.keep(chat)
        kept = store.read(first)
        assert kept is not None
        assert {turn.question for turn in kept.turns.values()} == {"one", "here", "there"}


async def test_a_chat_is_exported_with_all_its_branches_and_imported_again(
    store: ConversationStore, tmp_path: Path
) -> None:
    whole = converse(store, "one", "two\n\n## You\n\nthree")
    app = app_over(store)
    async with app.run_test(size=WIDE) as pilot:
        rows = await ready(pilot, app, 1)
        await until(pilot, lambda: len(asked(app)) == 2)
        for name in ("chat.json", "chat.md"):
            chat_of(app).action_export()
            await until(pilot, lambda: app.screen.is_modal)
            app.screen.query_one(Input).value = str(tmp_path / name)
            await pilot.press("enter")
            await until(pilot, lambda: not app.screen.is_modal)
        for name, lines in (("chat.json", 1), ("chat.md", 2)):
            chat_of(app).action_import()
            await until(pilot, lambda: app.screen.is_modal)
            app.screen.query_one(Input).value = str(tmp_path / name)
            await pilot.press("enter")
            await until(pilot, lambda: not app.screen.is_modal)
            await until(pilot, lambda lines=lines: len(rows.rows) == lines)  # type: ignore[misc]
        assert whole in {line.id for line in rows.rows}
        assert {line.turns for line in rows.rows} == {2}


async def test_where_conversations_are_not_kept_that_is_said_and_chats_go_on() -> None:
    app = app_over(None)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(chat_of(app)))
        await pilot.press("alt+l")
        assert any("not kept" in notice for notice in notices(app))
        await pilot.press("ctrl+n", "alt+n")
        await until(pilot, lambda: asked(app) == ["one"])


async def test_a_damaged_file_is_told_and_the_chat_goes_on(store: ConversationStore) -> None:
    store.path.write_bytes(b"no database at all" * 1000)
    app = app_over(store)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(chat_of(app)))
        app.pulse()
        await until(pilot, lambda: any("was damaged; it is now" in each for each in notices(app)))
        await until(pilot, lambda: [line.title for line in store.list_lines()] == ["one"])


async def test_after_a_restart_the_last_conversation_goes_on_from_what_was_computed_before(tmp_path: Path) -> None:
    where = folders_in(tmp_path)
    question = "Tell me all there is to know about it, and do not leave anything out. " * 10
    used: list[Usage] = []
    for _ in range(2):
        settings = Settings(server=ServerSettings(port=0), probe=ProbeSettings(enabled=False))
        app = BenchtopApp(settings, "guide", lambda settings: Workbench(settings, where))
        app.animation_level = "none"
        async with app.run_test() as pilot:
            await until(pilot, lambda app=app: app.desk.ready)  # type: ignore[misc]
            screen, before = chat_of(app), len(used)
            await until(pilot, lambda screen=screen, before=before: len(screen.chat.exchanges) == before)  # type: ignore[misc]
            screen.query_one(Composer).text = question
            await pilot.press("enter")
            await until(pilot, lambda screen=screen, before=before: finished(screen, before + 1))  # type: ignore[misc]
            end = screen.chat.exchanges[-1].end
            assert end is not None
            used.append(end.usage)
            await app.leave()
    first, then = used
    assert first.cached_tokens < 64
    assert then.prompt_tokens > first.prompt_tokens
    assert then.cached_tokens >= first.prompt_tokens


def test_ages_take_six_signs_at_most() -> None:
    seconds = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 700_000, 3e7, 4e7, 3e9]
    ages = [describe_age(each) for each in seconds]
    assert ages == ["now", "now", "1 min", "59 min", "1 h", "23 h", "1 d", "1 wk", "49 wk", "1 yr", "95 yr"]
