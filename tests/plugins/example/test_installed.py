"""An engine, a format and a theme that are installed as a package and used without a change in the product."""

import json
import sys
from pathlib import Path

import httpx
import pytest

from tests.fakes.processes import PATIENCE_SECONDS, serving
from tests.plugins.packages import environment, run, tui

MODEL = "PAIRS 1\nhello big 3\nhello small 1\nbig world 1\nsmall room 1\n"
WEAR = """
import asyncio
from core.settings.schema import ServerSettings, Settings, UiSettings
from tui.app import BenchtopApp

async def main():
    app = BenchtopApp(Settings(ui=UiSettings(theme="moss"), server=ServerSettings(port=0)), "echo")
    async with app.run_test() as pilot:
        await pilot.pause()
        titles = [command.title for command in app.get_system_commands(app.screen)]
        print(app.theme, app.current_theme.background, "Theme: moss" in titles)

asyncio.run(main())
"""


def model_in(folder: Path) -> Path:
    path = folder / "greeting.pairs"
    path.write_text(MODEL)
    return path


def test_the_doctor_tells_what_a_plugin_brings(example_site: Path, tmp_path: Path) -> None:
    done = tui("doctor", cwd=tmp_path, env=environment(example_site, tmp_path))
    assert done.returncode == 0, done.stderr
    assert [line.strip() for line in done.stdout.splitlines() if "benchtop-example" in line] == [
        "benchtop-example 0.1.0: engines pairs",
        "benchtop-example 0.1.0: formats pairs",
        "benchtop-example 0.1.0: themes moss",
    ]
    assert "left out" not in done.stdout


def test_its_models_are_listed_and_damage_is_told(example_site: Path, tmp_path: Path) -> None:
    model_in(tmp_path)
    (tmp_path / "torn.pairs").write_text(f"{MODEL}and so\n")
    done = tui("list", "--json", cwd=tmp_path, env=environment(example_site, tmp_path))
    assert done.returncode == 0, done.stderr
    entries = {Path(entry["name"]).name: entry for entry in json.loads(done.stdout)}
    assert entries["greeting.pairs"]["format"] == "pairs"
    assert entries["greeting.pairs"]["engines"] == ["pairs"]
    assert entries["torn.pairs"]["problem"] == "damaged: its line 6 is no pair of words with a count"


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM")
def test_its_model_answers_over_http(example_site: Path, tmp_path: Path) -> None:
    path = model_in(tmp_path)
    with serving(tmp_path / "log", str(path), cwd=tmp_path, env=environment(example_site, tmp_path)) as url:
        body = {"model": "greeting", "messages": [{"role": "user", "content": "well hello"}]}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=PATIENCE_SECONDS).json()
        engines = httpx.get(f"{url}/v1/engines", timeout=PATIENCE_SECONDS).json()
        formats = httpx.get(f"{url}/v1/search", params={"format": "no"}, timeout=PATIENCE_SECONDS).json()
    (choice,) = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("big world", "stop")
    assert answer["usage"]["completion_tokens"] == 2
    assert "pairs" in json.dumps(engines)
    assert "pairs" in formats["error"]["message"]


def test_its_theme_is_worn_by_the_app(example_site: Path, tmp_path: Path) -> None:
    done = run("-c", WEAR, cwd=tmp_path, env=environment(example_site, tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["moss", "#121512", "True"]
