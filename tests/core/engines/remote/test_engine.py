"""The remote engine: names, loading, connections, cancelling; `test_remote_answers.py` has what comes of requests."""

import asyncio
import socket
import threading
import time
from pathlib import Path

import pytest

from core.contract.artifact import URL
from core.contract.engine import Available
from core.contract.options import LoadOptions
from core.engines.registry import Engines
from core.engines.remote.engine import RemoteEngine
from core.errors import Cancelled, LoadFailed, ModelNotFound
from core.models.resolve import resolve_own
from tests.core.engines.elsewhere import QUIET, ServerExchange, answer_fully, elsewhere, gone, hosting, load

# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "known_as", "url"),
    [
        ("http://localhost:8000", "http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000", "http://localhost:8000/v1"),
        ("HTTPS://Host/api/v1#Org/Model", "https://host/api#Org/Model", "https://host/api/v1#Org/Model"),
        ("http://[::1]:8000/v1#m", "http://[::1]:8000#m", "http://[::1]:8000/v1#m"),
    ],
)
def test_an_address_stands_for_the_server_and_is_named_without_what_all_share(
    name: str, known_as: str, url: str
) -> None:
    artifact = resolve_own(name)
    assert (artifact.name, artifact.url, artifact.format) == (known_as, url, URL)
    assert Engines().choose(artifact).name == "remote"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("http://", "names no host"),
        ("http://a b/", "names no host"),
        ("http://host:port", "malformed"),
        ("http://[::1", "malformed"),
        ("http://host/v1?key=1", "has a query"),
        ("http://user:secret@host/v1", "remote_api_key"),
    ],
)
def test_a_wrong_address_is_told_without_its_password(name: str, says: str) -> None:
    with pytest.raises(ModelNotFound, match=says) as caught:
        resolve_own(name)
    assert "secret" not in str(caught.value)


def test_the_engine_runs_wherever_its_package_is() -> None:
    assert isinstance(RemoteEngine().availability(), Available)


# --- loading ---------------------------------------------------------------------------------------------------------


async def test_loading_finds_the_only_model_and_what_the_server_tells_of_it() -> None:
    async def models(exchange: ServerExchange) -> None:
        meta = {"n_ctx_train": 4096, "n_params": 7_000_000, "n_vocab": 100}
        await exchange.send(200, {"data": [{"id": "far", "meta": meta, "context_length": "many"}], "models": []})

    async with elsewhere(models=models) as server:
        model = await load(server.url, LoadOptions(remote_api_key="the key"))
        model.shutdown()
        model.shutdown()
    assert (model.spec.context, model.spec.trained_context, model.spec.parameters) == (4096, 4096, 7_000_000)
    assert (model.spec.slots, model.spec.cells, model.spec.template) == (8, 0, None)
    assert server.asked[0].path == "/v1/models"
    assert server.asked[0].headers["authorization"] == "Bearer the key"
    assert "far" in model.spec.notes[0]


@pytest.mark.parametrize(("card", "context"), [({"context_length": 512}, 512), ({"max_model_len": 1024}, 1024)])
async def test_the_context_is_what_the_server_calls_it(card: dict[str, object], context: int) -> None:
    async def models(exchange: ServerExchange) -> None:
        await exchange.send(200, {"data": [card | {"id": "far"}]})

    async with elsewhere(models=models) as server:
        model = await load(server.url)
        model.shutdown()
    assert model.spec.context == context


async def test_one_of_several_models_must_be_named() -> None:
    async def models(exchange: ServerExchange) -> None:
        await exchange.send(200, {"data": [{"id": "one"}, {"id": "two"}]})

    async with elsewhere(models=models) as server:
        with pytest.raises(LoadFailed, match=r"several models; add #name to the address: one, two\."):
            await load(server.url)
        with pytest.raises(LoadFailed, match=r"serves no model 'three'; it has one, two\."):
            await load(f"{server.url}/v1#three")
        (await load(f"{server.url}/v1#two")).shutdown()


@pytest.mark.parametrize("told", [{"state": "ready"}, {"status": {"value": "loaded"}}])
async def test_of_several_models_the_only_one_in_memory_is_meant(told: dict[str, object]) -> None:
    async def models(exchange: ServerExchange) -> None:
        await exchange.send(200, {"data": [{"id": "one", "state": "unloaded"}, {"id": "two", **told}]})

    async with elsewhere(models=models) as server:
        model = await load(server.url)
        assert "Answers come from two at" in model.spec.notes[0]
        model.shutdown()


@pytest.mark.parametrize(
    ("status", "content", "kind", "says"),
    [
        (
            200,
            "<!doctype html><title>x</title>",
            "text/html",
            "is no server for models: GET /v1/models gave '<!doctype",
        ),
        (200, {"models": []}, "application/json", "gave no list"),
        (200, {"data": [{"name": "x"}]}, "application/json", "gave no list"),
        (200, {"data": []}, "application/json", "serves no model"),
        (401, {"error": {"message": "no"}}, "application/json", "BENCHTOP_MODEL_REMOTE_API_KEY"),
        (404, "<html>", "text/html", r"does not offer /v1/models \(404\)"),
        (
            500,
            {"error": {"message": "\x1b[31mout of \nmemory."}},
            "application/json",
            r"failed \(500\): \[31mout of mem",
        ),
        (504, "", "text/plain", "gave up"),
    ],
    ids=["html", "other json", "no ids", "empty", "401", "404", "500", "504"],
)
async def test_a_wrong_answer_is_one_clear_sentence(status: int, content: object, kind: str, says: str) -> None:
    async def models(exchange: ServerExchange) -> None:
        await exchange.send(status, content, kind)

    async with elsewhere(models=models) as server:
        with pytest.raises(LoadFailed, match=says) as caught:
            await load(server.url)
    assert str(caught.value).isprintable()
    assert server.url in str(caught.value)
    assert len(server.asked) == 1


async def test_something_that_speaks_no_http_is_told() -> None:
    async def models(exchange: ServerExchange) -> None:
        await exchange.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    async with elsewhere(models=models) as server:
        with pytest.raises(LoadFailed, match="does not speak HTTP"):
            await load(server.url)


async def test_a_server_that_is_not_there_is_named_with_the_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LoadFailed, match=rf"at http://127\.0\.0\.1:{port} cannot be reached.*; start it"):
        await load(f"http://127.0.0.1:{port}")
    with pytest.raises(LoadFailed, match="no HTTP header"):
        await load(f"http://127.0.0.1:{port}", LoadOptions(remote_api_key="two\nlines"))


async def test_a_redirect_is_named_and_not_followed() -> None:
    async def models(exchange: ServerExchange) -> None:
        await exchange.send(307, "", location="https://evil.example/v1/models")

    async with elsewhere(models=models) as server:
        with pytest.raises(LoadFailed, match=r"sends its clients on to evil\.example; give that address"):
            await load(server.url)


async def test_a_proxy_from_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with elsewhere() as server:
        (await load(server.url)).shutdown()


async def test_loading_can_be_given_up_while_the_server_says_nothing() -> None:
    async def models(exchange: ServerExchange) -> None:
        await gone(exchange)

    async with elsewhere(models=models) as server:
        with pytest.raises(Cancelled):
            await asyncio.to_thread(
                RemoteEngine().load, resolve_own(server.url), LoadOptions(), lambda _: not server.asked
            )


async def test_a_server_that_still_loads_is_waited_for() -> None:
    async def models(exchange: ServerExchange) -> None:
        if len(server.asked) == 1:
            await exchange.send(503, {"error": {"message": "Loading model"}}, retry_after="0")
        else:
            await exchange.send(200, {"data": [{"id": "far"}]})

    async with elsewhere(models=models) as server:
        (await load(server.url)).shutdown()
    assert len(server.asked) == 2


# --- cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoken", [False, True], ids=["before the first byte", "amid the answer"])
async def test_cancelling_closes_the_connection_at_once(spoken: bool) -> None:
    here, closed = asyncio.Event(), asyncio.Event()

    async def answer(exchange: ServerExchange) -> None:
        if spoken:
            await exchange.begin()
            await exchange.text("hel")
        here.set()
        await gone(exchange)
        closed.set()

    async with elsewhere(answer) as server, hosting(server.url) as host:
        stream = await host.submit(QUIET)
        await here.wait()
        began = time.monotonic()
        stream.cancel()
        async with asyncio.timeout(5):
            await closed.wait()
        with pytest.raises(Cancelled):
            await stream.reply()
        assert time.monotonic() - began < 4
        assert host.snapshot().queue.total_cancelled == 1


async def test_cancelling_ends_the_wait_for_a_busy_server() -> None:
    asked = asyncio.Event()

    async def answer(exchange: ServerExchange) -> None:
        await exchange.send(503, {}, retry_after="20")
        asked.set()

    async with elsewhere(answer) as server, hosting(server.url) as host:
        stream = await host.submit(QUIET)
        await asked.wait()
        stream.cancel()
        async with asyncio.timeout(5):
            with pytest.raises(Cancelled):
                await stream.reply()


async def test_shutting_down_ends_what_is_under_way() -> None:
    here = threading.Event()

    async def answer(exchange: ServerExchange) -> None:
        here.set()
        await gone(exchange)

    async with elsewhere(answer) as server:
        model = await load(server.url)
        running = asyncio.create_task(asyncio.to_thread(list, model.generate(QUIET, threading.Event())))
        await asyncio.to_thread(here.wait)
        await asyncio.to_thread(model.shutdown)
        with pytest.raises(Cancelled):
            await running
        (failed,) = list(model.generate(QUIET, threading.Event()))
        assert "has been closed" in str(failed)


async def test_a_connection_is_kept_for_the_next_request() -> None:
    connections: set[int] = set()

    async def models(exchange: ServerExchange) -> None:
        await exchange.send(200, {"data": [{"id": "far"}]})
        connections.add(id(exchange.writer))
        # The next requests come over the same connection; what a request holds is of no matter here.
        for _ in range(2):
            await exchange.reader.readuntil(b"}]}")
            await exchange.raw(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for data in (
                b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n',
                b"data: [DONE]\n\n",
            ):
                await exchange.raw(b"%x\r\n%b\r\n" % (len(data), data))
            await exchange.raw(b"0\r\n\r\n")

    async with elsewhere(models=models) as server, hosting(server.url) as host:
        for _ in range(2):
            assert (await (await host.submit(QUIET)).reply()).choices[0].text == "x"
    assert len(connections) == 1
    assert len(server.asked) == 1


async def test_a_kept_connection_that_is_closed_in_that_moment_costs_nothing() -> None:
    async def models(exchange: ServerExchange) -> None:
        await exchange.send(200, {"data": [{"id": "far"}]})
        # The next request is read, and never answered.
        await exchange.reader.readuntil(b"\r\n\r\n")

    async with elsewhere(answer_fully, models) as server, hosting(server.url) as host:
        assert (await (await host.submit(QUIET)).reply()).choices[0].text == "Héllo"
    assert len(server.bodies) == 1


def test_names_and_folders_are_not_taken_for_addresses(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="server's URL"):
        resolve_own("localhost:8000")
