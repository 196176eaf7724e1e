"""Starting, draining and stopping the server inside a loop that runs already."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from api.server import HttpServer
from core.errors import ServerError
from core.settings.ollama import OllamaSettings
from core.settings.schema import ServerSettings, Settings
from core.workbench import Workbench
from tests.api.conftest import (
    ENDLESS,
    PATIENCE,
    Served,
    chat_body,
    folders_in,
    raw_request,
    serving,
    settings_of,
    until,
    user,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


def server_of(tmp_path: Path, settings: ServerSettings) -> HttpServer:
    whole = Settings(server=settings)
    return HttpServer(Workbench(whole, folders_in(tmp_path)), whole)


async def test_port_zero_takes_a_free_port_and_tells_it(tmp_path: Path) -> None:
    server = server_of(tmp_path, ServerSettings(port=0))
    await server.start()
    assert server.port != 0
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.running
    await server.stop()
    assert not server.running


async def test_a_stopped_server_starts_again_on_the_same_port(tmp_path: Path) -> None:
    server = server_of(tmp_path, ServerSettings(port=0))
    await server.start()
    port = server.port
    await server.stop()
    server = server_of(tmp_path, ServerSettings(port=port))
    for _ in range(2):
        await server.start()
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{server.url}/health")).status_code == 503
        await server.stop()


async def test_a_port_in_use_is_told_with_its_number_and_the_mend(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"Port {port} on 127\.0\.0\.1 is in use .*--port"):
            await server_of(tmp_path, ServerSettings(port=port)).start()


async def test_ollamas_clients_have_a_port_of_their_own_with_the_same_door(tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(port=0, api_keys=("k",)), ollama=OllamaSettings(port=0))
    async with serving(tmp_path, settings) as served:
        url = served.server.ollama_url
        assert url is not None
        assert url != served.server.url
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/api/version")).status_code == 401
            keyed = {"authorization": "Bearer k"}
            assert (await http.get("/api/version", headers=keyed)).status_code == 200
            assert (await http.get("/v1/models", headers=keyed)).status_code == 200
            foreign = await http.get("/api/tags", headers=keyed | {"host": "evil.example"})
            assert (foreign.status_code, foreign.json().keys()) == (403, {"error"})
        await served.server.stop()
        assert served.server.ollama_url is None
        await served.server.start()
        assert served.server.ollama_url is not None


async def test_a_port_of_ollamas_in_use_is_told_and_leaves_the_other_one_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        port, free = taken.getsockname()[1], other.getsockname()[1]
        other.close()
        settings = Settings(server=ServerSettings(port=free), ollama=OllamaSettings(port=port))
        server = HttpServer(Workbench(settings, folders_in(tmp_path)), settings)
        with pytest.raises(ServerError, match=rf"Port {port} .* perhaps Ollama itself; .*--ollama-port"):
            await server.start()
        socket.create_server(("127.0.0.1", free)).close()


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
async def test_an_address_that_is_not_ours_is_told(tmp_path: Path, host: str) -> None:
    with pytest.raises(ServerError, match="--host"):
        await server_of(tmp_path, ServerSettings(port=0, host=host, api_keys=("k",))).start()


async def test_a_key_is_made_where_others_can_reach_the_server(tmp_path: Path) -> None:
    local = server_of(tmp_path, ServerSettings(port=0))
    assert (local.api_key, local.key_generated) == (None, False)
    given = server_of(tmp_path, ServerSettings(port=0, host="0.0.0.0", api_keys=("given",)))
    assert (given.api_key, given.key_generated) == ("given", False)
    made = server_of(tmp_path, ServerSettings(port=0, host="0.0.0.0"))
    assert made.key_generated
    await made.start()
    async with httpx.AsyncClient(base_url=made.url) as http:
        assert (await http.get("/v1/models")).status_code == 401
        assert (await http.get("/v1/models", headers={"x-api-key": made.api_key or ""})).status_code == 200
    await made.stop()


async def test_signal_handlers_are_left_to_the_host(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    server = server_of(tmp_path, ServerSettings(port=0))
    await server.start()
    assert signal.getsignal(signal.SIGTERM) is before
    await server.stop()


async def slot_taken(served: Served) -> bool:
    return any(model.slots_used for model in served.workbench.snapshot().models)


async def test_stopping_lets_a_running_stream_finish(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        running = asyncio.create_task(served.chat(ignore_eos=True, max_tokens=3000))
        await until(lambda: slot_taken(served))
        await served.server.stop(drain=PATIENCE)
        response = await running
        assert response.json()["usage"]["completion_tokens"] == 3000


async def test_a_client_that_never_reads_cannot_hold_up_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        _, writer = await served.raw()
        writer.write(raw_request(chat_body(messages=user("x" * 100_000), ignore_eos=True, stream=True)))
        await until(lambda: slot_taken(served))
        await asyncio.wait_for(served.server.stop(drain=0), PATIENCE)
        assert not served.server.running
        writer.close()


async def test_importing_the_server_imports_neither_litestar_nor_uvicorn() -> None:
    script = "import sys, api.server; sys.exit(bool({'litestar', 'uvicorn', 'llama_cpp'} & sys.modules.keys()))"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await process.wait() == 0


async def test_no_new_connection_is_taken_while_draining(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        running = asyncio.create_task(served.chat(ignore_eos=True))
        await until(lambda: slot_taken(served))
        port = served.server.port
        stopping = asyncio.create_task(served.server.stop(drain=PATIENCE))

        async def refused() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                return True
            writer.close()
            return False

        await until(refused)
        running.cancel()
        await stopping
