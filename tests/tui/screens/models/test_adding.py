"""Models that are added, loaded with options, or named to somebody who has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, Static

from core.contract.options import LayerWord, LoadSettings
from core.models.library.scan import LibraryEntry, Location
from core.settings.load import load_settings
from core.snapshots import DeviceGauge, MachineSnapshot
from tests.tui.conftest import notices, until
from tests.tui.screens.models.on_models import models
from tests.tui.still import ECHO, GUIDE, StillWorkbench
from tests.tui.still_store import ENTRIES
from tui.dialogs.ask_path import AskPath, PathInput
from tui.screens.models.adding import explain_unlisted
from tui.screens.models.facts import is_base_model
from tui.screens.models.load_dialog import LoadDialog
from tui.screens.models.starters import StartersCard, choose_starters

GIB = 1 << 30


@pytest.fixture
def own_config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('# mine\n[library]\nfolders = [\n    "/data",  # the big disk\n]\n')
    return path


def read(path: Path) -> str:
    return path.read_text()


async def test_a_folder_is_added_by_its_path_and_the_config_file_says_so(tmp_path: Path, own_config: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    async with models() as on:
        on.app.config_file = own_config
        await on.press("a")
        await until(on.pilot, lambda: isinstance(on.app.screen, AskPath))
        on.app.screen.query_one(PathInput).value = f"{folder}/"
        await on.press("enter")
        await until(on.pilot, lambda: on.store.libraries)
        await until(on.pilot, lambda: any("Added" in notice for notice in notices(on.app)))
    assert on.store.libraries[0].folders == (str(folder),)
    assert load_settings(config_file=own_config, environment={}).library.folders == ("/data", str(folder))
    assert "# the big disk" in read(own_config)


async def test_what_is_no_model_is_refused_in_the_dialog(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.touch()
    assert "has not the name of a model's file" in explain_unlisted(text)
    assert "There is no folder and no file" in explain_unlisted(tmp_path / "none")
    assert "name a folder in it" in explain_unlisted(Path.home())
    assert explain_unlisted(tmp_path) == ""
    async with models() as on:
        await on.press("a")
        on.app.screen.query_one(PathInput).value = str(text)
        await on.press("enter")
        assert isinstance(on.app.screen, AskPath)
        assert "has not the name" in str(on.app.screen.query_one(".problem", Static).content)
        on.app.screen.query_one(PathInput).value = "~nobody-of-this-name/models"
        await on.press("enter")
        assert "There is no folder" in str(on.app.screen.query_one(".problem", Static).content)


async def test_a_model_is_loaded_with_the_options_that_were_written_and_wrong_ones_are_told() -> None:
    async with models() as on:
        await on.select("Qwen3-0.6B-Q8_0")
        await on.press("e")
        dialog = on.app.screen
        assert isinstance(dialog, LoadDialog)
        dialog.query_one("#option-gpu_layers", Input).value = "auto"
        dialog.query_one("#option-draft", Input).value = "none"
        dialog.query_one("#option-slots", Input).value = "0"
        await on.press("enter")
        assert "slots" in str(dialog.query_one(".problem", Static).content)
        dialog.query_one("#option-slots", Input).value = "3"
        await on.press("enter")
        await until(on.pilot, lambda: on.still.said is not None)
        assert on.still.said == (LoadSettings(slots=3, gpu_layers=LayerWord.AUTO), "none")
        await on.select("Qwen3-0.6B-Q8_0")
        await on.press("e")
        assert on.app.screen.query_one("#option-slots", Input).value == "3"


async def test_somebody_without_models_is_named_some_that_fit_and_g_shows_the_quants_of_the_first() -> None:
    still = StillWorkbench((GUIDE, ECHO))
    still.store.entries = ENTRIES[:2]
    async with models(still) as on:
        await on.beat()
        card = on.screen.query_one(StartersCard)
        assert card.display
        assert "qwen3-4b" in on.text()
        assert "about 2.4 GB to fetch" in on.text()
        await on.press("g")
        await until(on.pilot, lambda: on.details.quants.has_focus)
        assert on.table.row is not None
        assert on.table.row.name == "qwen3-4b"
        still.store.entries = ENTRIES
        await on.press("escape", "R")
        await until(on.pilot, lambda: len(on.screen._entries) > 2)
        await on.beat()
        assert not card.display


def test_starters_fit_the_card_where_there_is_one_and_else_what_a_processor_can_run() -> None:
    from core.models.catalog import load_builtin_catalog

    def name(machine: MachineSnapshot) -> list[str]:
        return [entry.alias for entry in choose_starters(load_builtin_catalog(), ("gguf",), machine)]

    large = MachineSnapshot(0.0, 256 * GIB, 200 * GIB, 1)
    small = MachineSnapshot(0.0, 4 * GIB, 2 * GIB, 1)
    card = DeviceGauge("CUDA0", "a card", "CUDA", 24 * GIB, 23 * GIB)
    with_card = MachineSnapshot(0.0, 256 * GIB, 200 * GIB, 1, (card,))
    parameters = {entry.alias: entry.parameters for entry in load_builtin_catalog()}
    assert len(name(large)) == len(name(with_card)) == 3
    assert all(parameters[each] < 10e9 for each in name(large))
    assert max(parameters[each] for each in name(with_card)) > 20e9
    assert all(parameters[each] < 3e9 for each in name(small))
    assert name(small)


async def test_a_base_model_is_told_before_one_chats_with_it() -> None:
    from msgspec.structs import replace

    from tests.tui.still_store import header

    assert not is_base_model(header())
    still = StillWorkbench((GUIDE, ECHO))
    still.store.header = lambda model: replace(header(model.size), template=False)  # type: ignore[method-assign]
    async with models(still) as on:
        await on.select("Qwen3-0.6B-Q8_0")
        await on.until_shown("came without a chat template")


async def test_damaged_files_are_the_last_of_what_is_here() -> None:
    still = StillWorkbench((GUIDE, ECHO))
    broken = LibraryEntry("a-broken-one", Path("a.gguf"), None, 1, False, "damaged: it ends too soon", Location.FOLDER)
    still.store.entries = (*ENTRIES[:2], broken, *ENTRIES[2:3])
    async with models(still) as on:
        assert on.names[:5] == ["guide", "echo", "Qwen3-0.6B-Q8_0", "a-broken-one", "qwen3-4b"]
        await on.press("t")
        assert on.names[-1] == "a-broken-one"
