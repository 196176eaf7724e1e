"""The app under a pilot: over the real workbench with the echo model, and over one that stands still."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path

import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Button, Input, Static

from core.bench.runner import RoundStarted
from core.conversations.store import ConversationStore
from core.conversations.tree import Outcome
from core.settings.schema import ServerSettings, Settings
from core.snapshots import ModelKind
from tests.tui.conftest import chat_of, notices, quiet, shown, until
from tests.tui.screens.models.on_models import HALF
from tests.tui.still import ECHO, GUIDE, StillWorkbench, build_still_server
from tui.app import BenchtopApp
from tui.screens.bench.screen import BenchScreen
from tui.screens.chat.composer import Composer
from tui.screens.chat.transcript import TranscriptView
from tui.screens.models.downloads import Transfers
from tui.screens.models.screen import ModelsScreen
from tui.screens.serve.requests import Board
from tui.screens.serve.screen import ServeScreen
from tui.widgets.table import RowTable


async def test_it_opens_on_chat_ready_to_type() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.current_mode == "chat"
        assert isinstance(app.focused, Composer)


async def test_digits_switch_screens_and_are_typed_into_the_message_in_chat() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press("f1")
        for key, name in (("2", "bench"), ("3", "serve"), ("1", "models"), ("4", "chat")):
            await pilot.press(key)
            await pilot.pause()
            assert app.current_mode == name
        await pilot.press(*"2 plus 3?")
        await pilot.pause()
        assert app.current_mode == "chat"
        assert app.screen.query_one(Composer).text == "2 plus 3?"


async def test_function_keys_switch_screens_while_typing() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press(*"hello", "f1")
        await pilot.pause()
        assert app.current_mode == "models"
        await pilot.press("f4")
        await pilot.pause()
        assert app.screen.query_one(Composer).text == "hello"


async def test_escape_leaves_the_message_and_enter_goes_back() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press(*"half a thought", "escape")
        await pilot.pause()
        assert isinstance(app.focused, TranscriptView)
        await pilot.press("enter")
        await pilot.pause()
        assert isinstance(app.focused, Composer)


async def test_the_tab_strip_and_the_model_are_on_every_screen() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        for key in "1234":
            await pilot.press(key)
            app.pulse()
            await pilot.pause()
            tabs = [str(tab.render()) for tab in app.screen.query(".tab").results(Static)]
            assert tabs == ["1 models", "2 bench", "3 serve", "4 chat"]
            assert shown(app, "#model") == "guide ● ready"


async def test_the_server_runs_in_the_same_process(echo_app: BenchtopApp) -> None:
    async with echo_app.run_test() as pilot:
        await until(pilot, lambda: echo_app.desk.ready)
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(echo_app.screen, ServeScreen))
        await pilot.press("s")
        await until(pilot, lambda: echo_app.desk.live_server)
        server = echo_app.desk.live_server
        assert server is not None
        body = await asyncio.to_thread(_get, f"{server.url}/v1/models")
        assert [model["id"] for model in body["data"] if model["state"] == "ready"] == ["echo"]
        await until(pilot, lambda: server.url in shown(echo_app, "#address"))
        assert shown(echo_app, "#curl").startswith(f"$ curl {server.url}/v1/chat/completions")
        await pilot.press("c")
        assert server.url in echo_app.clipboard
        await pilot.press("s")
        await until(pilot, lambda: not server.running)
        await until(pilot, lambda: "stopped" in shown(echo_app, "#address"))


def _get(url: str) -> dict[str, list[dict[str, str]]]:
    with urllib.request.urlopen(url, timeout=20) as reply:
        body: dict[str, list[dict[str, str]]] = json.load(reply)
        return body


async def test_a_port_in_use_is_told_and_nothing_else_is_disturbed() -> None:
    listener = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    app = BenchtopApp(Settings(server=ServerSettings(port=port)), "guide", lambda _: StillWorkbench())  # type: ignore[arg-type,return-value]
    async with app.run_test() as pilot:
        await pilot.press("f3", "s")
        await until(pilot, lambda: notices(app))
        assert str(port) in notices(app)[0]
        assert app.desk.live_server is None
        await pilot.press("f4")
        await pilot.pause()
        assert app.current_mode == "chat"
    listener.close()


async def test_the_request_board_cancels_the_selected_request() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3")
        await until(pilot, lambda: len(app.screen.query_one(Board).rows) == 4)
        await pilot.press("down", "x")
        await pilot.pause()
        assert still.cancelled == ["req-02bd77e8"]


async def test_bench_measures_the_model_and_draws_it() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, BenchScreen))
        await pilot.press("s")
        await until(pilot, lambda: "Median of 3 rounds" in shown(app, "#summary"))
        assert app.screen.query_one("#measured", RowTable).row_count == 3
        assert str(app.screen.query_one("#start", Button).label) == "Start"


async def test_bench_says_which_round_is_measured() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, BenchScreen))
        app.screen.post_message(BenchScreen.Sampled(RoundStarted(2, 3)))
        await until(pilot, lambda: shown(app, "#summary") == "Measuring round 2 of 3.")


async def test_bench_runs_on_the_real_workbench(echo_app: BenchtopApp) -> None:
    async with echo_app.run_test() as pilot:
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(echo_app.screen, BenchScreen))
        await pilot.press("s")
        await until(pilot, lambda: "Median of 3 rounds" in shown(echo_app, "#summary"))


async def test_bench_names_the_parameter_that_is_wrong() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await pilot.press("f2")
        await until(pilot, lambda: isinstance(app.screen, BenchScreen))
        app.screen.query_one("#rounds", Input).value = "0"
        await pilot.press("s")
        await pilot.pause()
        assert notices(app) == ["Rounds must be a whole number from 1 to 100."]


async def on_models(pilot: Pilot[None], app: BenchtopApp) -> None:
    await until(pilot, lambda: app.desk.ready)
    await pilot.press("f1")
    await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and len(app.screen.table.rows) == 7)


async def test_enter_makes_a_loaded_model_the_one_in_use() -> None:
    app = quiet(StillWorkbench((GUIDE, ECHO)))
    async with app.run_test() as pilot:
        await on_models(pilot, app)
        await pilot.press("down", "enter")
        await pilot.pause()
        assert app.desk.model == "echo"


async def test_a_damaged_file_is_not_even_tried() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        await on_models(pilot, app)
        await pilot.press("down", "down", "down", "enter")
        await pilot.pause()
        assert still.loaded == ["guide"]
        assert "half-a-download cannot be loaded" in notices(app)[0]


async def test_a_file_that_is_no_model_leaves_the_loaded_one_in_use(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"not a model")
    app = quiet()
    async with app.run_test() as pilot:
        await on_models(pilot, app)
        await pilot.press("o")
        await until(pilot, lambda: app.screen.is_modal)
        app.screen.query_one(Input).value = str(tmp_path / "missing.gguf")
        await pilot.press("enter")
        await pilot.pause()
        assert "There is no file" in shown(app, ".problem")
        app.screen.query_one(Input).value = str(wrong)
        await pilot.press("enter")
        await until(pilot, lambda: notices(app))
        assert "is not a GGUF file" in notices(app)[0]
        assert app.desk.ready
        assert app.desk.model == "guide"


async def test_unloading_the_model_in_use_says_what_to_do() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await on_models(pilot, app)
        await pilot.press("u")
        await until(pilot, lambda: app.desk.problem)
        await pilot.press("f4", *"hello", "enter")
        await until(pilot, lambda: "models screen" in shown(app, ".stats"))


async def test_ascii_mode_draws_ascii_only() -> None:
    app = quiet()
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        app.action_toggle_ascii()
        await pilot.press("f3")
        app.pulse()
        await pilot.pause()
        lines = [strip.text for strip in app.screen._compositor.render_strips()]
        assert "".join(lines).isascii()


async def test_quitting_closes_server_and_workbench() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("ctrl+q")
        await pilot.pause()
    assert still.closed
    assert app.return_code == 0


@pytest.mark.parametrize("keys", [("f5",), ("ctrl+p",), ("1", "f"), ("1", "o"), ("1", "x", "x")])
async def test_ctrl_q_quits_from_every_dialog(keys: tuple[str, ...]) -> None:
    still = StillWorkbench()
    still.store.downloads.rows = [HALF]
    app = quiet(still)
    async with app.run_test() as pilot:
        await on_models(pilot, app)
        screen = app.screen
        await until(pilot, lambda: screen.query_one(Transfers).display)
        await pilot.press(*keys)
        await until(pilot, lambda: app.screen.is_modal)
        await pilot.press("ctrl+q")
        await pilot.pause()
        assert app.return_code == 0


async def test_quitting_asks_once_while_clients_are_served() -> None:
    still = StillWorkbench()
    app = quiet(still)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        app.desk.server = build_still_server()
        served = app.desk.answering()
        assert served == len(GUIDE.requests)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app.screen.is_modal)
        assert f"{served} answers are being written for clients" in shown(app, ".question-text")
        await pilot.press("escape")
        await pilot.pause()
        assert not app.screen.is_modal
        assert not still.closed
        await pilot.press("ctrl+q", "y")
        await until(pilot, lambda: still.closed)
        await pilot.pause()
    assert app.return_code == 0


async def test_quitting_asks_for_no_answer_of_the_chat_and_for_no_download_since_both_are_kept(tmp_path: Path) -> None:
    store = ConversationStore(tmp_path)
    still = StillWorkbench(hold_stream=True, conversations=store)
    still.store.downloads.rows = [HALF]
    app = quiet(still)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press(*"go on", "enter")
        await until(pilot, lambda: app.answering() and chat_of(app).chat.last_answer)
        said = chat_of(app).chat.last_answer
        await pilot.press("f3", "ctrl+q")
        await until(pilot, lambda: still.closed)
        await pilot.pause()
        assert app.return_code == 0
    (line,) = store.list_lines()
    kept = store.read(line.id)
    assert kept is not None
    (step,) = kept.path()
    assert (step.turn.question, step.answer.text, step.answer.outcome) == ("go on", said, Outcome.STOPPED)
    store.close()


async def test_unloading_asks_while_the_model_writes() -> None:
    still = StillWorkbench(hold_stream=True)
    app = quiet(still)
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press(*"go on", "enter")
        await until(pilot, lambda: app.answering())
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and len(app.screen.table.rows) == 7)
        await pilot.press("u")
        await until(pilot, lambda: app.screen.is_modal)
        await pilot.press("escape")
        await pilot.pause()
        assert still.shown
        await pilot.press("u")
        await until(pilot, lambda: app.screen.is_modal)
        await pilot.press("y")
        await until(pilot, lambda: not still.shown)


async def test_the_board_says_how_the_selected_prompt_came_to_be() -> None:
    note = "The chat template takes no system message; it stands before the user's words."
    rows = (GUIDE.requests[0], replace(GUIDE.requests[1], notes=(note,)))
    app = quiet(StillWorkbench((replace(GUIDE, requests=rows),)))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        await pilot.press("f3")
        await until(pilot, lambda: len(app.screen.query_one(Board).rows) == 2)
        assert not app.screen.query_one("#request-note").display
        await pilot.press("down")
        await until(pilot, lambda: note in shown(app, "#request-note"))
        assert app.screen.query_one("#request-note").display


async def test_the_curl_line_of_an_embedder_asks_for_embeddings() -> None:
    app = quiet(StillWorkbench((replace(GUIDE, kind=ModelKind.EMBEDDING),)))
    async with app.run_test() as pilot:
        await until(pilot, lambda: app.desk.ready)
        app.desk.server = build_still_server()
        await pilot.press("f3")
        await until(pilot, lambda: "/v1/embeddings" in shown(app, "#curl"))
        await pilot.press("c")
        assert "/v1/embeddings" in app.clipboard


async def test_it_is_usable_at_80_by_24() -> None:
    app = quiet()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        for key in "1234":
            await pilot.press(key)
            await pilot.pause()
            for widget in app.screen.query(".panel, Composer, Footer, Button, #plan Input"):
                # The bench screen keeps the mode that is not chosen, with all that is in it, out of sight.
                if not all(node.display for node in widget.ancestors_with_self):
                    continue
                assert widget.region.width > 0
                assert widget.region.bottom <= 24
                assert widget.region.right <= 80
