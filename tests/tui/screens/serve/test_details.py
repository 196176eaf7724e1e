"""A request looked at on the serve screen, over the real workbench and over a model that waits for the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.content import Content

from core.engines.registry import Engines
from core.errors import Cancelled
from core.serving.ability import Request
from core.settings.model import ModelSettings
from core.settings.schema import ServerSettings, Settings
from core.snapshots import EtaBasis, RequestRow, RequestState
from core.workbench import Workbench
from tests.fakes.support import asks, folders_in
from tests.tui.conftest import until
from tui.app import BenchtopApp
from tui.screens.serve import details
from tui.screens.serve.details import RequestDialog
from tui.screens.serve.request_facts import describe_state
from tui.screens.serve.request_text import list_prompt
from tui.screens.serve.requests import Board


def drawn(app: BenchtopApp) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def test_a_finished_request_stays_in_the_list_and_says_all_there_is_to_know_of_it(echo_app: BenchtopApp) -> None:
    app = echo_app
    async with app.run_test(size=(80, 30)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        asked = asks("What is a [bold]KV[/] cache?\x1b[31m", request_id="req-one", max_tokens=64, stop=("END",))
        await (await app.desk.workbench.requests.submit(asked)).reply()
        await pilot.press("f3")
        app.pulse()
        board = app.screen.query_one(Board)
        await until(pilot, lambda: board.selected == "req-one")
        await until(pilot, lambda: "done" in drawn(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, RequestDialog) and "max tokens 64" in drawn(app))
        text = drawn(app)
        assert "stop 'END'" in text
        assert "written in" in text
        assert "none reused" in text
        # What the model wrote, then what it was asked, then how it read that: as text, whatever it holds.
        await until(pilot, lambda: "[bold]KV[/] cache?" in drawn(app))
        await pilot.press("tab")
        await until(pilot, lambda: "user" in drawn(app) and r"[bold]KV[/] cache?\x1b[31m" in drawn(app))
        await pilot.press("tab")
        await until(pilot, lambda: "assistant" in drawn(app))
        await pilot.press("c")
        assert "What is a [bold]KV[/] cache?" in app.clipboard
        await pilot.press("escape")
        assert not isinstance(app.screen, RequestDialog)


def count_tokens(app: BenchtopApp) -> int:
    row = app.desk.workbench.requests.row("req-one")
    return row.completion_tokens if row is not None else 0


async def test_an_answer_grows_while_one_looks_and_ends_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(server=ServerSettings(port=0), model=ModelSettings(ctx_size=200_000, slots=1, draft="none"))
    engines = Engines({"echo": "tests.fakes.brooding:PonderingEngine"})
    app = BenchtopApp(settings, "echo", lambda given: Workbench(given, folders_in(tmp_path), engines))
    async with app.run_test(size=(80, 30)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        stream = await app.desk.workbench.requests.submit(asks("well", request_id="req-one"))
        second = await app.desk.workbench.requests.submit(asks("me too", request_id="req-two"))
        await pilot.press("f3")
        app.pulse()
        await until(pilot, lambda: app.screen.query_one(Board).selected == "req-one")
        await until(pilot, lambda: "queue 1" in drawn(app))
        await pilot.press("enter")
        await until(pilot, lambda: "It writes" in drawn(app) and "hm hm" in drawn(app))
        # The prompt does not grow with the answer, so it is put into words once.
        written: list[Request] = []

        def write(asked: Request) -> Iterator[Content]:
            written.append(asked)
            return list_prompt(asked)

        monkeypatch.setattr(details, "list_prompt", write)
        await pilot.press("p")
        await until(pilot, lambda: bool(written))
        made = count_tokens(app)
        await until(pilot, lambda: count_tokens(app) > made)
        dialog = app.screen
        assert isinstance(dialog, RequestDialog)
        await dialog.look().wait()
        assert len(written) == 1
        await pilot.press("a")
        await until(pilot, lambda: "hm hm" in drawn(app))
        await pilot.press("x")
        await until(pilot, lambda: "cancelled:" in drawn(app))
        assert isinstance(stream.end.error, Cancelled)
        assert "hm hm" in drawn(app)
        await pilot.press("escape")
        await until(pilot, lambda: "cancelled" in drawn(app))
        second.cancel()


def test_what_is_estimated_is_told_as_an_estimate() -> None:
    row = RequestRow("a", "m", RequestState.DECODE, completion_tokens=30, rate=12.0, eta=4.0)
    said = describe_state(replace(row, eta_basis=EtaBasis.USUAL_LENGTH))
    assert said == (
        "It writes, 30 tokens up to now, 12.0 tok/s; about 4.0 s until it ends, by how long this model's answers were "
        "lately."
    )
    waiting = replace(row, state=RequestState.QUEUED, eta=None, position=3)
    assert describe_state(waiting) == "It waits in the queue, number 3."
