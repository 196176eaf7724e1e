"""The wire to one server: a thread with an event loop and a pool of connections, driven from other threads.

A blocked read of a socket cannot be called off from another thread, so the connections live on an event loop, where
cancelling closes them at once, in whatever state they are.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from core.engines.remote.refusals import BUSY, clean_words, read_message, translate_refusal
from core.engines.remote.sse import read_events
from core.errors import BenchtopError, Cancelled, EngineFailed
from core.hosts import is_loopback
from core.retry import Patience, Tries, retry_after
from core.sizes import format_size
from core.telemetry.log import get_logger

if TYPE_CHECKING:
    import httpx

POLL_SECONDS = 0.05
"""How long a cancelled request may go unnoticed while its server says nothing."""
CONNECT_SECONDS = 10.0
WRITE_SECONDS = 60.0
ANSWER_SECONDS = 15.0
"""How long a server may be silent where it has nothing to compute."""
IDLE_SECONDS = 2.0
"""How long an idle connection is kept: shorter than servers keep theirs, so that no closed one is used."""
DRAIN_SECONDS = 1.0
SOON_SECONDS = 0.05
"""How long a request waits for a connection that is just becoming free, before it opens one of its own."""
CLOSE_SECONDS = 5.0
PATIENCE = Patience(first=0.5, attempts=6, total=30.0)
"""How often, and for how long, a busy server is asked again."""
MOST_BODY_BYTES = 4_000_000
"""Bytes of a body that is read whole."""

Result = TypeVar("Result")
DONE: Final = "[DONE]"
"""The data of the last event of a stream."""
log = get_logger(__name__)


class Accepted:
    """The server has taken the request: what follows is its answer. `sent` is when that attempt began."""

    def __init__(self, sent: float) -> None:
        self.sent = sent


Incoming = Accepted | str | BenchtopError | None
"""What a streamed request yields: taken, the data of an event, failed, ended."""


class Link:
    """To one server. `base` ends with `/v1`. Safe to use from any thread until it is closed."""

    def __init__(self, base: str, api_key: str | None) -> None:
        self.address = base.removesuffix("/v1")
        self._client = _client(base, api_key)
        self._closed = False
        self._ending: set[asyncio.Task[object]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link {self.address}", daemon=True)
        self._thread.start()

    def get(self, path: str, go_on: Callable[[], bool]) -> bytes:
        """The body of the answer. Raises EngineFailed, RequestError, Overloaded; Cancelled when not to `go_on`."""
        task = self._begin(self._told(self._get(path)))
        try:
            while not task.done():
                if not go_on():
                    raise Cancelled
                wait_for([task], POLL_SECONDS)
            return task.result()
        finally:
            task.cancel()

    def stream(self, path: str, body: bytes, request_id: str, stop: threading.Event) -> Iterator[Accepted | str]:
        """`Accepted`, then the data of each event until the server ends. Leaving early closes the connection.

        Raises as `get` does; Cancelled soon after `stop` is set.
        """
        inbox: SimpleQueue[Incoming] = SimpleQueue()
        task = self._begin(self._converse(path, body, request_id, inbox))
        try:
            while (item := _next(inbox, stop)) is not None:
                if isinstance(item, BenchtopError):
                    raise item
                yield item
        except BaseException:
            # After an ordinary end the task is left alone: it is about to keep the connection for the next request.
            task.cancel()
            raise

    def close(self) -> None:
        """Break off what is under way and end the thread; idempotent."""
        if self._closed:
            return
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _begin(self, work: Coroutine[object, object, Result]) -> Future[Result]:
        if self._closed:
            work.close()
            raise EngineFailed(f"The connection to {self.address} has been closed.")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    # On the link's own loop.

    async def _wind_up(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()
        self._loop.stop()

    async def _told(self, work: Coroutine[object, object, Result]) -> Result:
        """The result of `work`. Raises EngineFailed, with a sentence, for errors of the HTTP library."""
        import httpx

        try:
            return await work
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise EngineFailed(_why(self.address, error)) from error

    async def _get(self, path: str) -> bytes:
        import httpx

        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        request = self._client.build_request("GET", path, timeout=timeout)
        async with self._asked(request, path) as (response, _):
            return await _read(response, self.address)

    async def _converse(self, path: str, body: bytes, request_id: str, inbox: SimpleQueue[Incoming]) -> None:
        try:
            await self._told(self._pump(path, body, request_id, inbox))
        except asyncio.CancelledError:
            inbox.put(Cancelled())
            raise
        except BenchtopError as error:
            inbox.put(error)
        except Exception as error:
            # The edge of the link's loop: without an item the reader of the inbox would wait for ever.
            log.exception("link failed", address=self.address)
            inbox.put(EngineFailed(f"The connection to {self.address} failed: {error!r}."))

    async def _pump(self, path: str, body: bytes, request_id: str, inbox: SimpleQueue[Incoming]) -> None:
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        if request_id.isascii() and request_id.isprintable():
            headers["x-request-id"] = request_id
        request = self._client.build_request("POST", path, content=body, headers=headers)
        if self._ending:
            await asyncio.wait(self._ending, timeout=SOON_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        async with self._asked(request, path) as (response, sent):
            await _expect_stream(response, self.address)
            inbox.put(Accepted(sent))
            events = read_events(response)
            async for event in events:
                if event == DONE:
                    break
                inbox.put(event)
            self._end_soon()
            inbox.put(None)
            await _drain(events)

    def _end_soon(self) -> None:
        """Note that the running task has only its connection left to give back. The next request may come before
        that is done, and waits a moment for the connection."""
        task = asyncio.current_task()
        assert task is not None
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    @asynccontextmanager
    async def _asked(self, request: httpx.Request, path: str) -> AsyncIterator[tuple[httpx.Response, float]]:
        """The response of status 200, its body unread, and when it was asked for; a busy server is asked again for a
        while. Raises what any other status stands for."""
        tries = Tries(PATIENCE)
        while True:
            sent = time.monotonic()
            response = await self._send(request)
            try:
                if response.status_code == HTTPStatus.OK:
                    yield response, sent
                    return
                body = await _read(response, self.address)
            finally:
                await response.aclose()
            status, headers = response.status_code, response.headers
            pause = tries.fail(retry_after(headers)) if status in BUSY else None
            if pause is None:
                raise translate_refusal(self.address, status, body, headers, path=f"/v1{path}", waited=tries.waited)
            log.info("server is busy", address=self.address, status=status, again_in=round(pause, 1))
            await asyncio.sleep(pause)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send on a kept connection, or on a new one where the kept one turns out to be closed.

        Servers close idle connections when they like, also in the moment in which a request is on its way. A
        generation may be asked for twice: it changes nothing.
        """
        import httpx

        connected = False

        async def watch(event: str, _: object) -> None:
            nonlocal connected
            connected = connected or event.startswith("connection.connect")

        request.extensions["trace"] = watch
        while True:
            try:
                return await self._client.send(request, stream=True)
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                if connected:
                    raise


def _client(base: str, api_key: str | None) -> httpx.AsyncClient:
    # Imported here: it takes a tenth of a second, and most runs need no server elsewhere.
    import httpx

    headers = {"accept-encoding": "identity"}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    limits = httpx.Limits(max_connections=None, keepalive_expiry=IDLE_SECONDS)
    # A proxy that is asked for a loopback address would look for the server on its own machine.
    proxied = not is_loopback(urlsplit(base).hostname or "")
    try:
        return httpx.AsyncClient(
            base_url=base,
            headers=headers,
            # A model may compute a prompt for minutes without a word; TCP's probes tell when its machine is gone.
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS, write=WRITE_SECONDS),
            transport=httpx.AsyncHTTPTransport(limits=limits, trust_env=proxied, socket_options=_keep_alive()),
            trust_env=proxied,
            # The prompt and the key were not meant for another server that this one redirects to.
            follow_redirects=False,
        )
    except (httpx.InvalidURL, UnicodeError) as error:
        raise EngineFailed(f"The address {base} cannot be asked: {error}.") from error


def _keep_alive() -> list[tuple[int, int, int]]:
    """Socket options that find a machine gone after about a minute and a half; names differ between systems."""
    wanted = {"TCP_KEEPIDLE": 30, "TCP_KEEPALIVE": 30, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
    tuned = [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)
    ]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *tuned]


def _next(inbox: SimpleQueue[Incoming], stop: threading.Event) -> Incoming:
    """Raises Cancelled when `stop` is set before anything comes."""
    while not stop.is_set():
        try:
            return inbox.get(timeout=POLL_SECONDS)
        except Empty:
            continue
    raise Cancelled


async def _drain(events: AsyncIterator[str]) -> None:
    """Read the rest of the body, as a rule only its end: a connection is reused only after that."""
    import httpx

    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in events:
                pass


async def _read(response: httpx.Response, address: str) -> bytes:
    """The whole body, within bounds of time and size."""
    body = bytearray()
    async with asyncio.timeout(ANSWER_SECONDS):
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MOST_BODY_BYTES:
                raise EngineFailed(f"The server at {address} answered with more than {format_size(MOST_BODY_BYTES)}.")
    return bytes(body)


async def _expect_stream(response: httpx.Response, address: str) -> None:
    """Raises EngineFailed for an answer of status 200 that is no stream of events."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return
    words = read_message(await _read(response, address))
    told = f": {words.rstrip('.')}" if words else ""
    raise EngineFailed(
        f"The server at {address} answered with {clean_words(kind) or 'nothing'} where a stream is due{told}."
    )


def _why(address: str, error: Exception) -> str:
    """One sentence for a failure below HTTP, or of HTTP itself."""
    import httpx

    words = clean_words(str(error)).rstrip(".")
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
            detail = f" ({words})" if words else ""
            return f"The server at {address} cannot be reached{detail}; start it, or check its address."
        case httpx.RemoteProtocolError() if "illegal" in words or "malformed" in words:
            return f"What answers at {address} does not speak HTTP ({words}); check the address and its http or https."
        case httpx.TimeoutException() | TimeoutError():
            return f"The server at {address} is silent; see whether it is overloaded, or check its address."
        case httpx.RemoteProtocolError() | httpx.ReadError() | httpx.WriteError():
            return f"The connection to {address} was lost before the answer was complete."
    return f"The exchange with {address} failed: {words or type(error).__name__}."
