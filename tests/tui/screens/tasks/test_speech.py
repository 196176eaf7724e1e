"""Audio files in the app: heard by a whisper model of minimal size, shown as they are heard, exported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.events import Paste
from textual.pilot import Pilot
from textual.widgets import Input

from core.settings.schema import LibrarySettings, ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.speech import encoded, tone, write_whisper
from tests.fakes.support import folders_in
from tests.tui.conftest import app_on, notices, shown, until
from tui.app import BenchtopApp
from tui.dialogs.ask import Ask
from tui.screens.tasks.speech import SpeechScreen
from tui.terminal.dropped import read_dropped_path


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("whisper") / "ggml-tiny.bin")


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "two words [b].wav"
    path.write_bytes(encoded(tone()))
    return path


def text_of(app: BenchtopApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def hear(pilot: Pilot[None], app: BenchtopApp, typed: str) -> None:
    """By the dialog that the palette opens."""
    await until(pilot, lambda: app.desk.ready)
    app.action_hear_speech()
    await until(pilot, lambda: app.screen.query(Input))
    app.screen.query_one(Input).value = typed
    await pilot.press("enter")


async def export(pilot: Pilot[None], app: BenchtopApp, path: Path) -> None:
    await pilot.press("e")
    await until(pilot, lambda: isinstance(app.screen, Ask))
    app.screen.query_one(Input).value = str(path)
    await pilot.press("enter")


async def test_a_model_that_is_here_is_loaded_for_it(whisper: Path, audio: Path, tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(port=0), library=LibrarySettings(folders=(str(whisper.parent),)))
    app = BenchtopApp(settings, "echo", lambda given: Workbench(given, folders_in(tmp_path)))
    app.animation_level = "none"
    async with app.run_test(size=(100, 30)) as pilot:
        await hear(pilot, app, str(audio))
        await until(pilot, lambda: isinstance(app.screen, SpeechScreen) and "heard in" in shown(app, "#about"))
        assert app.desk.model == "echo"


async def test_what_is_said_is_shown_with_its_times_copied_and_exported(
    whisper: Path, audio: Path, tmp_path: Path
) -> None:
    app = app_on(str(whisper), tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await hear(pilot, app, f"'{audio}'")
        await until(pilot, lambda: isinstance(app.screen, SpeechScreen) and "heard in" in shown(app, "#about"))
        assert "two words [b].wav" in shown(app, "#about")
        assert "0 s  hello world" in text_of(app)
        assert "0 s  ü world" in text_of(app)
        await pilot.press("c")
        assert app.clipboard == "hello world ü world"
        await export(pilot, app, tmp_path / "said.srt")
        await until(pilot, lambda: isinstance(app.screen, SpeechScreen))
        assert (tmp_path / "said.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:00,500\nhello world\n")
        await export(pilot, app, tmp_path / "said.md")
        await until(pilot, lambda: isinstance(app.screen, SpeechScreen))
        assert (tmp_path / "said.md").read_text() == "- **00:00:00** hello world\n- **00:00:00** ü world\n"
        await export(pilot, app, tmp_path / "said.doc")
        await until(pilot, lambda: "ends in one of" in shown(app, ".problem"))
        await pilot.press("escape", "escape")
        assert not isinstance(app.screen, SpeechScreen)


async def test_a_file_that_is_dropped_is_heard_next_and_one_without_sound_is_refused_in_words(
    whisper: Path, audio: Path, tmp_path: Path
) -> None:
    app = app_on(str(whisper), tmp_path)
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"RIFF, or so it says")
    async with app.run_test(size=(100, 30)) as pilot:
        await hear(pilot, app, str(noise))
        await until(pilot, lambda: isinstance(app.screen, SpeechScreen) and "audio" in shown(app, "#about"))
        app.screen.post_message(Paste(f"file://{audio.as_posix().replace(' ', '%20')}"))
        await until(pilot, lambda: "hello world" in text_of(app))
        app.screen.post_message(Paste("two words"))
        await until(pilot, lambda: any("no path" in each for each in notices(app)))


async def test_without_a_model_that_hears_it_is_said_how_to_get_one(audio: Path, tmp_path: Path) -> None:
    app = app_on("echo", tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await hear(pilot, app, str(tmp_path / "none.wav"))
        await until(pilot, lambda: "is no file" in shown(app, ".problem"))
        app.screen.query_one(Input).value = str(audio)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, SpeechScreen) and "models screen" in shown(app, "#about"))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("/a/b.wav", "/a/b.wav"),
        ("'/a/b c.wav' ", "/a/b c.wav"),
        ("/a/b\\ c.wav\n", "/a/b c.wav"),
        ("file:///a/b%20c.wav", "/a/b c.wav"),
        ("it's.wav", "it's.wav"),
        ("~nobody-is-called-so/b.wav", "~nobody-is-called-so/b.wav"),
        ("two words", None),
        ("many words " * 100, None),
        ("a\nb", None),
        ("", None),
        ("a\0b", None),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="paths are written otherwise on Windows")
def test_terminals_type_the_paths_of_dropped_files_in_several_ways(typed: str, meant: str | None) -> None:
    assert read_dropped_path(typed) == (None if meant is None else Path(meant))
