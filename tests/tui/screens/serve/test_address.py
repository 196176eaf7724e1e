"""The server's address, key and CORS, changed on the serve screen while it runs: over the real server."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import httpx
import pytest
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Input

from core.engines.registry import Engines
from core.settings.load import load_settings
from core.settings.model import ModelSettings
from core.settings.schema import ServerSettings, Settings
from core.workbench import Workbench
from tests.fakes.support import folders_in
from tests.tui.conftest import notices, shown, until
from tui.app import BenchtopApp
from tui.screens.serve.address import AddressDialog, AddressForm, WrongField, list_changes


async def serving(app: BenchtopApp, pilot: Pilot[None]) -> str:
    """Start the server on the serve screen; its address."""
    await until(pilot, lambda: app.desk.ready)
    await pilot.press("f3", "s")
    await until(pilot, lambda: app.desk.live_server is not None)
    return url_of(app)


def url_of(app: BenchtopApp) -> str:
    assert app.desk.live_server is not None
    return app.desk.live_server.url


async def write(app: BenchtopApp, pilot: Pilot[None], *, end: str = "enter", **fields: str) -> None:
    """Fill the dialog in, and press what ends it."""
    await pilot.press("e")
    await until(pilot, lambda: isinstance(app.screen, AddressDialog))
    for name, value in fields.items():
        app.screen.query_one(f"#{name}", Input).value = value
    await pilot.press(end)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def test_another_port_and_key_are_served_in_place_and_written_to_the_config(
    echo_app: BenchtopApp, tmp_path: Path
) -> None:
    app = echo_app
    app.config_file = tmp_path / "config.toml"
    async with app.run_test(size=(80, 24)) as pilot, httpx.AsyncClient(trust_env=False) as client:
        old, port = await serving(app, pilot), free_port()
        await write(app, pilot, end="ctrl+s", port=str(port), key="open sesame", origins="https://a.example")
        await until(pilot, lambda: any("It stands in" in notice for notice in notices(app)))
        assert url_of(app) == f"http://127.0.0.1:{port}"
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{old}/health")
        assert (await client.get(f"{url_of(app)}/v1/models")).status_code == 401
        asked = {"authorization": "Bearer open sesame", "origin": "https://a.example"}
        answer = await client.get(f"{url_of(app)}/v1/models", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        kept = load_settings(config_file=app.config_file, environment={}).server
        assert (kept.port, kept.api_keys, kept.cors_origins) == (port, ("open sesame",), ("https://a.example",))
        assert app.config_file.read_text().count("=") == 3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere loopback is 127.0.0.1 alone")
async def test_an_address_that_cannot_be_bound_brings_the_old_one_back_and_is_told(echo_app: BenchtopApp) -> None:
    app = echo_app
    async with app.run_test(size=(80, 24)) as pilot, httpx.AsyncClient(trust_env=False) as client:
        old = await serving(app, pilot)
        before = app.desk.live_server
        assert before is not None
        # The port is the server's own, so that only binding finds it out.
        with socket.create_server(("127.0.0.2", before.port)):
            await write(app, pilot, host="127.0.0.2")
            await until(pilot, lambda: any("is in use by another program" in notice for notice in notices(app)))
            await until(pilot, lambda: app.desk.live_server is not None)
        assert app.desk.live_server is not before
        assert url_of(app) == old
        assert (await client.get(f"{old}/health")).status_code == 200
        assert app.desk.settings.server.host == "127.0.0.1"
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, AddressDialog))
        assert app.screen.query_one("#host", Input).value == "127.0.0.2"


async def test_no_answer_is_cut_off_for_what_is_not_to_be_had(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[alice]\nkey = "alices"\n')
    settings = Settings(server=ServerSettings(port=0, api_key_file=str(keys)))
    app = BenchtopApp(settings, "echo", lambda given: Workbench(given, folders_in(tmp_path)))
    async with app.run_test(size=(80, 24)) as pilot:
        await serving(app, pilot)
        server = app.desk.live_server
        with socket.create_server(("127.0.0.1", 0)) as taken:
            await write(app, pilot, port=str(taken.getsockname()[1]))
            await until(pilot, lambda: any("is in use by another program" in notice for notice in notices(app)))
        assert app.desk.live_server is server
        # It is nobody's (RFC 5737).
        await write(app, pilot, host="192.0.2.1")
        await until(pilot, lambda: any("is no address of this machine" in notice for notice in notices(app)))
        assert app.desk.live_server is server
        # The file of keys was broken meanwhile: the server that runs has the old ones, and another would have none.
        keys.write_text("[alice")
        await write(app, pilot, host="127.0.0.1", port=str(free_port()))
        await until(pilot, lambda: any("file of API keys" in notice for notice in notices(app)))
        assert app.desk.live_server is server


async def test_what_was_applied_before_is_written_as_well_and_a_key_that_others_can_read_is_told(
    echo_app: BenchtopApp, tmp_path: Path
) -> None:
    app = echo_app
    app.config_file = tmp_path / "config.toml"
    app.config_file.touch(0o644)
    app.config_file.chmod(0o644)
    async with app.run_test(size=(80, 24)) as pilot:
        await serving(app, pilot)
        await write(app, pilot, key="open sesame")
        await until(pilot, lambda: any("Clients find it" in notice for notice in notices(app)))
        server = app.desk.live_server
        await write(app, pilot, end="ctrl+s")
        await until(pilot, lambda: any("It stands in" in notice for notice in notices(app)))
        # Nothing differs from what is in force, so nobody is sent away.
        assert app.desk.live_server is server
        if sys.platform != "win32":
            assert any("others of this machine can read" in notice for notice in notices(app))
        kept = load_settings(config_file=app.config_file, environment={}).server
        assert kept.api_keys == ("open sesame",)


async def test_an_answer_under_way_is_written_to_its_end_before_the_server_moves(echo_app: BenchtopApp) -> None:
    app = echo_app
    async with app.run_test(size=(80, 24)) as pilot, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        url = await serving(app, pilot)
        body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "one word " * 400}]}
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            await write(app, pilot, port=str(free_port()))
            told = [line async for line in lines]
        assert "data: [DONE]" in told
        words = [json.loads(line[6:]) for line in told if line.startswith("data: {")]
        assert words[-1]["choices"][0]["finish_reason"] == "stop"
        await until(pilot, lambda: app.desk.live_server is not None and url_of(app) != url)


async def test_answers_that_a_server_waits_for_can_be_cut_off(tmp_path: Path) -> None:
    # It thinks for longer than any test waits.
    engines = Engines({"echo": "tests.fakes.brooding:PonderingEngine"})
    settings = Settings(server=ServerSettings(port=0), model=ModelSettings(ctx_size=200_000, draft="none"))
    app = BenchtopApp(settings, "echo", lambda given: Workbench(given, folders_in(tmp_path), engines))
    async with app.run_test(size=(80, 24)) as pilot, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        url = await serving(app, pilot)
        body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "well"}]}
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            await write(app, pilot, port=str(free_port()))
            await until(pilot, lambda: "1 answer may go on for 30 s; s cuts off" in shown(app, "#address"))
            await pilot.press("s")
            await until(pilot, lambda: app.desk.live_server is not None and url_of(app) != url)
            told = [line async for line in lines]
        assert any('"error"' in line for line in told)


async def test_beyond_loopback_a_key_is_made_and_stays_the_same(echo_app: BenchtopApp) -> None:
    app = echo_app
    async with app.run_test(size=(80, 24)) as pilot:
        await serving(app, pilot)
        keys, ports = [], set()
        for host in ("0.0.0.0", "127.0.0.1", "0.0.0.0"):
            before = app.desk.live_server
            await write(app, pilot, host=host)
            await until(pilot, lambda: app.desk.live_server not in (None, before))  # noqa: B023 - awaited at once
            assert app.desk.live_server is not None
            keys.append(app.desk.live_server.api_key)
            ports.add(app.desk.live_server.port)
        assert keys[0] is not None
        assert keys == [keys[0], None, keys[0]]
        # The free port that was found is the one that clients know.
        assert len(ports) == 1


def test_fields_say_what_is_wrong_with_them_in_a_sentence() -> None:
    base = ServerSettings(api_keys=("one", "two"))
    good = AddressForm.of(base)
    assert good.read_over(base) == base
    assert replace(good, key="").read_over(base).api_keys == ("two",)
    for field, text in (("host", "http://here"), ("port", "70000"), ("key", "a\x00b"), ("origins", "app.example/x")):
        with pytest.raises(WrongField) as caught:
            replace(good, **{field: text}).read_over(base)
        assert caught.value.field == field
        assert str(caught.value).endswith(".")


def test_only_what_was_changed_is_written() -> None:
    before = ServerSettings()
    assert list_changes(before, replace(before, port=1)) == {("server", "port"): 1}


async def test_a_port_that_is_taken_is_told_with_the_key_that_changes_it_and_arrows_go_to_its_field(
    echo_app: BenchtopApp,
) -> None:
    app = echo_app
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.desk.ready)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            before = app.desk.settings
            app.desk.settings = replace(before, server=replace(before.server, port=taken.getsockname()[1]))
            await pilot.press("f3", "s")
            await until(pilot, lambda: any("Here e changes the address." in notice for notice in notices(app)))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, AddressDialog) and app.focused)
        await pilot.press("down")
        assert app.focused is app.screen.query_one("#port", Input)
        await pilot.press("up")
        assert app.focused is app.screen.query_one("#host", Input)
