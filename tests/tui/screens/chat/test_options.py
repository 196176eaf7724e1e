"""Settings, presets and the model of a chat, under a pilot."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.widgets import Input, TextArea

from core.conversations.presets import BUILT_IN_PRESETS
from core.conversations.settings import ChatSettings
from core.requests import Conversation, Role, SamplingWish
from tests.tui.conftest import chat_of, finished, quiet, shown, until
from tests.tui.still import GUIDE, StillWorkbench
from tui.app import BenchtopApp
from tui.screens.chat.composer import Composer
from tui.screens.chat.model_picker import ModelPicker
from tui.screens.chat.preset_dialog import PresetDialog
from tui.screens.chat.settings_dialog import ChatSettingsDialog
from tui.widgets.row_list import RowList


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    return tmp_path


def _status(app: BenchtopApp) -> str:
    return str(app.screen_stack[0].query_one(Composer).border_subtitle)


def _rows(app: BenchtopApp, selector: str) -> list[str]:
    return [str(row) if isinstance(row, str) else row.label for row in app.screen.query_one(selector, RowList).rows]


async def test_settings_reach_the_request_and_what_differs_stands_in_the_status_line() -> None:
    still = StillWorkbench(answer="ok")
    app = quiet(still)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("alt+s", *"Be brief.", "tab", *"0.8", "tab", *"0.5")
        assert shown(app, "#said-temperature").startswith("0.8 by itself")
        await pilot.press("enter")
        await until(pilot, lambda: "top_p" in _status(app))
        # The temperature is the model's own already.
        assert _status(app) == "system prompt · top_p 0.5"
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: finished(chat_of(app)))
        (asked,) = still.asked
        assert asked.sampling == SamplingWish(temperature=0.8, top_p=0.5)
        assert isinstance(asked.prompt, Conversation)
        assert [(each.role, each.text) for each in asked.prompt.messages] == [
            (Role.SYSTEM, "Be brief."),
            (Role.USER, "hi"),
        ]
        await until(pilot, lambda: "top_p" in shown(app, ".who"))
        assert shown(app, ".who") == "guide · Q8_0 · llamacpp · system prompt · temp 0.8 · top_p 0.5"


async def test_what_is_wrong_is_told_beside_the_field_and_nothing_is_applied() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("alt+s", "tab", "tab", *"7")
        assert shown(app, "#said-top_p") == "from 0 to 1"
        await pilot.press("tab", "enter")
        assert isinstance(app.screen, ChatSettingsDialog)
        assert app.focused is app.screen.query_one("#set-top_p")
        await pilot.press("backspace", *"0.7")
        assert shown(app, "#said-top_p") != "from 0 to 1"
        await pilot.press("ctrl+s")
        await until(pilot, lambda: not app.screen.is_modal)
        assert chat_of(app).settings == ChatSettings(top_p=0.7)


async def test_a_preset_is_saved_renamed_chosen_and_deleted() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("alt+s", *"Be kind.", "alt+p")
        await until(pilot, lambda: isinstance(app.screen, PresetDialog) and _rows(app, "#presets-list"))
        await pilot.press("s", *"kind", "enter")
        await until(pilot, lambda: isinstance(app.screen, PresetDialog) and "kind" in _rows(app, "#presets-list"))
        await pilot.press("r", "end", *"er", "enter")
        await until(pilot, lambda: _rows(app, "#presets-list") == [*BUILT_IN_PRESETS, "kinder"])
        await pilot.press("escape", "alt+u", "alt+p")
        await until(pilot, lambda: isinstance(app.screen, PresetDialog) and "kinder" in _rows(app, "#presets-list"))
        app.screen.query_one("#presets-list", RowList).select("kinder")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatSettingsDialog))
        assert app.screen.query_one("#set-system", TextArea).text == "Be kind."
        await pilot.press("alt+p")
        await until(pilot, lambda: isinstance(app.screen, PresetDialog) and "kinder" in _rows(app, "#presets-list"))
        app.screen.query_one("#presets-list", RowList).select("kinder")
        await pilot.press("d", "y")
        await until(pilot, lambda: _rows(app, "#presets-list") == [*BUILT_IN_PRESETS])
        await pilot.press("d")
        await until(pilot, lambda: "stays as it is" in shown(app, ".problem"))


async def test_another_model_is_chosen_by_a_few_letters_and_the_conversation_goes_on_with_it() -> None:
    still = StillWorkbench((GUIDE, replace(GUIDE, name="other")), answer="ok")
    app = quiet(still)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = chat_of(app)
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: finished(screen))
        await pilot.press("alt+m")
        await until(pilot, lambda: isinstance(app.screen, ModelPicker) and len(_rows(app, "#choices")) == 4)
        assert _rows(app, "#choices") == ["guide", "other", "echo", "Qwen3-0.6B-Q8_0"]
        await pilot.press(*"oth", "enter", *"two", "enter")
        await until(pilot, lambda: finished(screen, 2))
        assert [request.model for request in still.asked] == ["guide", "other"]
        await pilot.press("alt+m", *"qwn", "enter")
        await until(pilot, lambda: still.loaded[-1:] == ["Qwen3-0.6B-Q8_0"] and app.desk.model == "Qwen3-0.6B-Q8_0")
        assert [exchange.question for exchange in screen.chat.exchanges] == ["one", "two"]


async def test_a_name_that_nothing_here_has_is_told_and_loads_nothing() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("alt+m")
        await until(pilot, lambda: isinstance(app.screen, ModelPicker) and len(_rows(app, "#choices")) == 3)
        await pilot.press(*"zz", "enter")
        assert "No model here is called so" in shown(app, ".hint")
        assert app.screen.query_one(Input).value == "zz"
        assert still.loaded == ["guide"]
