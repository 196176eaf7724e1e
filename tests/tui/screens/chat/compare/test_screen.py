"""Comparing under a pilot: the same question to several, a blind vote, going on with the better answer."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace
from textual.content import Content
from textual.geometry import Offset
from textual.pilot import Pilot
from textual.selection import Selection
from textual.widgets import Static

from core.conversations.store import ConversationStore
from core.conversations.tree import Outcome
from core.conversations.votes import VoteBox
from core.snapshots import PoolSnapshot
from tests.tui.conftest import chat_of, finished, notices, quiet, shown, until
from tests.tui.still import GUIDE, StillWorkbench
from tui.app import BenchtopApp
from tui.screens.chat.compare.contest import Contestant, explain_no_room
from tui.screens.chat.compare.lane import LaneView
from tui.screens.chat.compare.screen import CompareScreen
from tui.screens.chat.composer import Composer
from tui.screens.chat.model_picker import ModelPicker
from tui.screens.chat.settings_dialog import ChatSettingsDialog
from tui.widgets.row_list import RowList

OTHER = replace(GUIDE, name="other")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    return tmp_path


def _two_voices() -> StillWorkbench:
    """Each model says who it is."""
    still = StillWorkbench((GUIDE, OTHER))
    still.answers = {each.name: f"I am {each.name} and no other." for each in (GUIDE, OTHER)}
    return still


async def _compare(pilot: Pilot[None], app: BenchtopApp, *keys: str) -> CompareScreen:
    """Open the screen with guide and another one; keys there come before the question."""
    await until(pilot, lambda: app.desk.ready)
    await pilot.press("alt+c", "alt+a")
    await until(
        pilot, lambda: isinstance(app.screen, ModelPicker) and len(app.screen.query_one("#choices", RowList).rows) == 4
    )
    await pilot.press(*"oth", "enter")
    await until(pilot, lambda: isinstance(app.screen, CompareScreen) and len(app.screen.query(LaneView)) == 2)
    await pilot.press(*keys)
    screen = app.screen
    assert isinstance(screen, CompareScreen)
    return screen


def _texts(app: BenchtopApp, selector: str) -> list[str]:
    return [str(each.render()) for each in app.screen.query(selector).results(Static)]


async def test_the_same_question_is_answered_side_by_side_with_what_differs_marked(home: Path) -> None:
    still = _two_voices()
    app = quiet(still)
    async with app.run_test(size=(80, 24)) as pilot:
        await _compare(pilot, app, *"who?", "enter")
        await until(pilot, lambda: "enter votes" in shown(app, "#compare-note"))
        assert sorted(request.model for request in still.asked) == ["guide", "other"]
        assert _texts(app, ".lane-text") == ["I am guide and no other.", "I am other and no other."]
        assert all("38.4 tok/s" in line for line in _texts(app, ".lane-stats"))
        marked = cast("Content", app.screen.query(".lane-text").first(Static).content)
        assert [marked.plain[span.start : span.end] for span in marked.spans] == ["guide"]


async def test_names_are_hidden_until_the_vote_which_is_kept_and_counted(home: Path) -> None:
    still = _two_voices()
    app = quiet(still)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await _compare(pilot, app, "alt+h")
        screen._shuffle = list.reverse
        await pilot.press(*"who?", "enter")
        await until(pilot, lambda: "enter votes" in shown(app, "#compare-note"))
        assert _texts(app, ".lane-who") == ["answer A", "answer B"]
        assert _texts(app, ".lane-stats") == ["done", "done"]
        await pilot.press("right", "left", "enter")
        await until(pilot, lambda: "1 won" in shown(app, "#compare-note"))
        assert shown(app, "#compare-note").startswith("other 1 won 0 lost, guide 0 won 1 lost.")
        assert _texts(app, ".lane-who") == ["A  other ✓", "B  guide"]
        (vote,) = VoteBox(home / "state" / "votes.jsonl").load()
        assert (vote.contestants, vote.winner, vote.blind) == (("other", "guide"), "other", True)


async def test_the_better_answer_goes_into_the_conversation_and_the_other_stays_beside_it() -> None:
    still = _two_voices()
    app = quiet(still)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await _compare(pilot, app, *"who?", "enter")
        await until(pilot, lambda: "enter votes" in shown(app, "#compare-note"))
        assert len(still.asked[-1].prompt.messages) == 3  # type: ignore[union-attr]
        await pilot.press("right", "alt+k")
        await until(pilot, lambda: app.screen is screen and len(screen.chat.exchanges) == 2)
        assert screen.chat.exchanges[1].answer == "I am other and no other."
        assert screen.chat.exchanges[1].model == "other"
        await pilot.press("alt+r")
        await until(pilot, lambda: screen.chat.exchanges[1].answer == "I am guide and no other.")


async def test_letters_go_to_the_question_and_escape_stops_before_it_closes() -> None:
    still = StillWorkbench((GUIDE, OTHER), hold_stream=True)
    app = quiet(still)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _compare(pilot, app, *"go on", "enter")
        await until(pilot, lambda: len(still.asked) == 2 and all(_texts(app, ".lane-text")))
        await pilot.click(LaneView)
        await pilot.press("x")
        assert screen.query_one(Composer).text == "x"
        await pilot.press("escape")
        await until(pilot, lambda: not screen.running)
        assert sorted(still.cancelled) == ["req-1", "req-2"]
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not screen)
        assert chat_of(app).query_one(Composer).earlier.messages == ("go on", "x")


async def test_quitting_keeps_the_answers_as_far_as_they_came_and_the_question_that_was_not_asked(home: Path) -> None:
    still = StillWorkbench((GUIDE, OTHER), hold_stream=True)
    still.conversations = ConversationStore(home)
    app = quiet(still)
    async with app.run_test(size=(80, 24)) as pilot:
        await _compare(pilot, app, *"go on", "enter")
        await until(pilot, lambda: len(still.asked) == 2 and all(_texts(app, ".lane-text")))
        await pilot.press(*"next")
        await app.leave()
    [line] = still.conversations.list_lines()
    tree = still.conversations.read(line.id)
    assert tree is not None
    [step] = tree.path()
    assert step.turn.question == "go on"
    assert [(each.writer.model, each.outcome) for each in step.turn.answers] == [
        ("other", Outcome.STOPPED),
        ("guide", Outcome.STOPPED),
    ]
    assert still.conversations.take_draft().text == "next"


async def test_ctrl_c_copies_what_is_selected_and_closes_nothing() -> None:
    app = quiet(_two_voices())
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _compare(pilot, app, *"who?", "enter")
        await until(pilot, lambda: "enter votes" in shown(app, "#compare-note"))
        screen.selections = {screen.query(".lane-text").first(Static): Selection(Offset(0, 0), Offset(10, 0))}
        await pilot.press("ctrl+c")
        assert app.clipboard == "I am guide"
        await pilot.press("ctrl+c")
        assert app.screen is screen


async def test_the_same_model_with_other_settings_is_another_contestant() -> None:
    still = StillWorkbench((GUIDE, OTHER))
    app = quiet(still)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await _compare(pilot, app)
        for prompt in ("Speak French.", "Speak French."):
            await pilot.press("alt+a")
            await until(pilot, lambda: isinstance(app.screen, ModelPicker))
            await until(pilot, lambda: len(app.screen.query_one("#choices", RowList).rows) == 4)
            await pilot.press(*"oth", "enter")
            await until(pilot, lambda: isinstance(app.screen, ChatSettingsDialog))
            await pilot.press(*prompt, "ctrl+s")
            await until(pilot, lambda: app.screen is screen and len(screen.query(LaneView)) == 3)
        assert _texts(app, ".lane-who") == ["A  guide", "B  other", 'C  other · "Speak French."']
        assert notices(app) == ["This one is there already; give it other settings."]
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: "enter votes" in shown(app, "#compare-note"))
        prompts = [request.prompt.messages[0].text for request in still.asked]  # type: ignore[union-attr]
        assert sorted(prompts) == ["Speak French.", "hi", "hi"]


async def test_one_alone_is_no_comparison() -> None:
    app = quiet(StillWorkbench((GUIDE, OTHER)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("alt+c", *"who?", "enter")
        assert notices(app) == ["There is nothing to compare with; alt+a adds a model."]


def test_models_that_do_not_fit_at_once_answer_in_turn_and_it_is_told() -> None:
    small, large = Contestant("guide", "guide"), Contestant("large", "large", size=9_000_000_000)
    snapshot = replace(StillWorkbench().snapshot(), pool=PoolSnapshot(limit=9_600_000_000))
    assert explain_no_room((small, replace(large, size=5_000_000_000)), snapshot) == ""
    assert explain_no_room((small, large), snapshot) == (
        "Together they take about 10.8 GB of the 9.6 GB for models, so they answer one after another."
    )
    # The same model with other settings needs its memory once.
    assert explain_no_room((large, large), snapshot) == ""
