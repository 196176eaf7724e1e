"""The serve screen over the real server."""

from __future__ import annotations

from msgspec.structs import replace

from core.settings.ollama import OllamaSettings
from core.settings.schema import ServerSettings
from tests.tui.conftest import quiet, until
from tests.tui.still import GUIDE, StillWorkbench
from tui.app import BenchtopApp
from tui.screens.serve.requests import Board

KEY = "a key that is nobody's business"


async def test_the_api_key_is_shown_only_when_asked_for(echo_app: BenchtopApp) -> None:
    app = echo_app
    app.settings = app.desk.settings = replace(app.settings, server=ServerSettings(port=0, api_keys=(KEY,)))
    async with app.run_test(size=(80, 24)) as pilot:

        def text() -> str:
            return "\n".join(strip.text for strip in app.screen._compositor.render_strips())

        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3")
        await pilot.press("s")
        await until(pilot, lambda: app.desk.live_server is not None)
        await until(pilot, lambda: "API key: v shows it" in text())
        assert KEY not in text()
        await pilot.press("v")
        await until(pilot, lambda: KEY in text())
        await pilot.press("v")
        await until(pilot, lambda: KEY not in text())
        await pilot.press("y")
        assert app.clipboard == KEY


async def test_the_port_for_ollamas_clients_is_shown_where_there_is_one(echo_app: BenchtopApp) -> None:
    app = echo_app
    ports = replace(app.settings, server=ServerSettings(port=0), ollama=OllamaSettings(port=0))
    app.settings = app.desk.settings = ports
    async with app.run_test(size=(80, 24)) as pilot:

        def text() -> str:
            return "\n".join(strip.text for strip in app.screen._compositor.render_strips())

        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3")
        await pilot.press("s")
        await until(pilot, lambda: app.desk.live_server is not None)
        server = app.desk.live_server
        assert server is not None
        await until(pilot, lambda: f"Ollama's clients: {server.ollama_url}" in text())
        assert "curl" in text()


async def test_below_the_board_stands_what_was_guessed_ahead_for_the_selected_request() -> None:
    guessed = replace(GUIDE.requests[0], guessed_tokens=64, kept_tokens=41)
    app = quiet(StillWorkbench((replace(GUIDE, requests=(guessed, GUIDE.requests[1])),)))
    async with app.run_test(size=(80, 24)) as pilot:

        def text() -> str:
            return "\n".join(strip.text for strip in app.screen._compositor.render_strips())

        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3")
        await until(pilot, lambda: "41 of 64 guessed tokens came true." in text())
        app.screen.query_one(Board).focus()
        await pilot.press("down")
        await until(pilot, lambda: "guessed tokens" not in text())


async def test_the_log_can_be_that_of_the_model_in_use(echo_app: BenchtopApp) -> None:
    app = echo_app
    async with app.run_test(size=(80, 40)) as pilot:

        def text() -> str:
            return "\n".join(strip.text for strip in app.screen._compositor.render_strips())

        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3")
        assert "waiting for its turn" not in text()
        await pilot.press("l")
        await until(pilot, lambda: "log of echo" in text() and "waiting for its turn" in text())
        await pilot.press("l")
        await until(pilot, lambda: "log of echo" not in text() and "waiting for its turn" not in text())
