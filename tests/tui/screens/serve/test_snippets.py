"""Snippets and launch lines on the serve screen."""

from __future__ import annotations

import shlex

from api.snippets import ServedAt
from core.settings.schema import ServerSettings
from core.snapshots import ModelKind
from tests.tui.conftest import until
from tui.app import BenchtopApp
from tui.cli.commands import COMMANDS, build_parser
from tui.launch.programs.registry import PROGRAMS
from tui.screens.serve.snippets import SnippetsDialog, list_snippets, write_launch_line


async def test_what_is_under_the_cursor_is_copied(echo_app: BenchtopApp) -> None:
    app = echo_app
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3", "s")
        await until(pilot, lambda: app.desk.live_server is not None)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, SnippetsDialog))
        await pilot.press("down", "enter")
        await until(pilot, lambda: not isinstance(app.screen, SnippetsDialog))
        assert app.desk.live_server is not None
        assert app.clipboard.startswith("from openai import OpenAI")
        assert f'"{app.desk.live_server.url}/v1"' in app.clipboard
        assert 'model="echo"' in app.clipboard


def test_a_launch_line_is_one_that_the_command_takes() -> None:
    at = ServedAt("http://10.0.0.7:9090", "my model", asks_for_key=True, made_key="k 1")
    parser = build_parser(next(command for command in COMMANDS if command.name == "launch"))
    for program in PROGRAMS:
        line = write_launch_line(program, at, ServerSettings(host="10.0.0.7"), 9090)
        variable, _, rest = line.partition(" tui launch ")
        assert variable == "BENCHTOP_SERVER_API_KEYS='k 1'"
        given = parser.parse(shlex.split(rest))
        assert (given.program, given.model) == (program.name, "my model")
        assert given.flags()["server"] == {"port": 9090, "host": "10.0.0.7"}


def test_programs_are_for_models_that_chat() -> None:
    for kind in ModelKind:
        snippets = list_snippets(ServedAt("http://h:1", "m", kind), ServerSettings(), 1, PROGRAMS)
        assert len(snippets) == 3 + len(PROGRAMS) * (kind is ModelKind.CHAT)
