"""A program that is launched from the palette: the workbench gives it the terminal and comes back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are not for Windows", allow_module_level=True)

from core.settings.schema import BenchSettings, ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.support import folders_in
from tests.tui.launch.stand_in import EXIT_CODE, build_environment, install_program
from tests.tui.terminal.terminals import running
from tui.app import BenchtopApp
from tui.launch.programs.registry import find_program

PALETTE = "\x10"


def test_the_palette_launches_a_program_on_the_model_in_use_and_the_screen_comes_back(tmp_path: Path) -> None:
    install_program(tmp_path)
    told = build_environment(tmp_path)
    with running(tmp_path / "benchtop", "echo", "--port", "0", PATH=told["PATH"], HOME=told["HOME"]) as terminal:
        terminal.until("echo ● ready")
        terminal.type(PALETTE)
        terminal.until("Search")
        terminal.type("Launch: llm")
        terminal.until("Run it on the model in use")
        terminal.type("\r")
        terminal.until('"said": "It works.", "tty": true')
        terminal.type("\n")
        terminal.until(f"llm ended with exit code {EXIT_CODE}.")
        terminal.until("echo ● ready")
        assert terminal.leave() == 0
    assert not [*(tmp_path / "benchtop" / "cache" / "launch").iterdir()]


@pytest.mark.parametrize(
    ("name", "said"),
    [("codex", "Codex is not installed"), ("llm", "The screen cannot be given away here; run `tui launch llm`")],
)
async def test_what_hinders_a_launch_is_told_and_the_screen_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    install_program(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("BENCHTOP_HOME", str(tmp_path))
    settings = Settings(server=ServerSettings(port=0), bench=BenchSettings(enabled=False))
    app = BenchtopApp(settings, "echo", lambda each: Workbench(each, folders_in(tmp_path)))
    async with app.run_test() as pilot:
        await app.launch(find_program(name)).wait()
        await pilot.pause()
        assert any(said in notice.message for notice in app._notifications)
        assert app.desk.live_server is None
