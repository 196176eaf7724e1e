"""What clients are told whose requests outlast the server: that it was not they who cancelled."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.echo import EchoEngine, EchoModel
from core.engines.registry import Engines
from core.errors import Cancelled
from tests.api.conftest import ENDLESS, PATIENCE, Served, chat_body, raw_request, serving, settings_of, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOAD = b'POST /v1/models/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n{"model": "echo"}'


class Slow(EchoEngine):
    """Echo, which loads until it is stopped, and looks whether it is at its leisure."""

    free = threading.Event()

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> EchoModel:
        while not self.free.wait(0.01):
            if not progress(0.5):
                raise Cancelled
        return super().load(artifact, options, progress)


async def states(served: Served) -> list[str]:
    return [row.state.value for row in served.workbench.snapshot().requests]


async def asked(served: Served, request: bytes, *wanted: str) -> asyncio.Task[bytes]:
    """The answer to come, once the requests on the board are as `wanted`."""
    reader, writer = await served.raw()
    writer.write(request)

    async def there() -> bool:
        return await states(served) == list(wanted)

    await until(there)

    async def read() -> bytes:
        try:
            return await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()

    return asyncio.create_task(read())


def assert_told(answer: bytes) -> None:
    assert answer.startswith(b"HTTP/1.1 503 "), answer
    assert b"\r\nretry-after: 5\r\n" in answer
    assert b'"type":"server_error"' in answer
    assert b'"code":"server_stopping"' in answer


async def test_who_runs_and_who_waits_is_told_503_before_headers_and_server_error_in_a_stream(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        running = await asked(served, raw_request(chat_body(ignore_eos=True, stream=True)), "decode")
        whole = await asked(served, raw_request(chat_body()), "decode", "queued")
        streamed = await asked(served, raw_request(chat_body(stream=True)), "decode", "queued", "queued")
        await served.server.stop(drain=0)
        told = await running
        assert told.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b'"type":"server_error","param":null,"code":"server_stopping"}}\n\ndata: [DONE]\n\n' in told
        for answer in (await whole, await streamed):
            assert_told(answer)


async def test_an_answer_that_runs_in_one_piece_is_told_503(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        running = await asked(served, raw_request(chat_body(ignore_eos=True)), "decode")
        await served.server.stop(drain=0)
        assert_told(await running)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "unstreamed"])
async def test_who_waits_for_a_model_is_told_503(tmp_path: Path, streamed: bool) -> None:
    async with serving(tmp_path, model=None, engines=Engines({"echo": f"{__name__}:Slow"})) as served:
        waiting = await asked(served, raw_request(chat_body(stream=streamed)), "loading")
        await served.server.stop(drain=0)
        assert_told(await waiting)


async def test_who_has_a_model_loaded_without_a_stream_is_told_503_too(tmp_path: Path) -> None:
    async with serving(tmp_path, model=None, engines=Engines({"echo": f"{__name__}:Slow"})) as served:
        loading = await asked(served, LOAD)

        async def begun() -> bool:
            return bool(served.workbench.snapshot().models)

        await until(begun)
        await served.server.stop(drain=0)
        assert_told(await loading)


async def test_what_the_board_cancelled_is_not_blamed_on_the_end_of_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path, settings_of(model=ENDLESS)) as served:
        running = await asked(served, raw_request(chat_body(ignore_eos=True)), "decode")
        (row,) = served.workbench.snapshot().requests
        assert served.workbench.requests.cancel(row.id)

        async def over() -> bool:
            return not await states(served)

        await until(over)
        await served.server.stop(drain=0)
        assert (await running).startswith(b"HTTP/1.1 499 ")
