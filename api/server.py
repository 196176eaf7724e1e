"""uvicorn inside the loop that is running already: start, drain, stop. Imports Litestar and uvicorn only to start."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from api.curl import format_curl
from api.http.live import LiveStreams
from api.snippets import ServedAt
from api.transport.limits import ConnectionLimits, choose_limits, count_descriptors
from api.transport.listening import ServerSockets, adopt_sockets, open_server_sockets, read_port
from core.errors import ServerError
from core.hosts import find_reachable, is_loopback, quote_host
from core.settings.keys import KeySource, has_keys
from core.snapshots import ModelKind
from core.telemetry.log import get_logger

if TYPE_CHECKING:
    from api.http.key_watch import KeyWatch
    from api.http.rates import Allowances
    from api.transport.uvicorn_guest import EmbeddedUvicorn
    from core.settings.schema import Settings
    from core.supervision import Handover
    from core.workbench import Workbench

log = get_logger(__name__)
DRAIN_SECONDS = 30.0
"""How long running streams may go on after `stop`."""
GRACE_SECONDS = 2.0
"""How long cancelled streams may take to tell their clients."""
PING_SECONDS = 15.0
"""An idle stream says this often that it lives."""


class HttpServer:
    """The HTTP server of a workbench. Can be started again after it was stopped; belongs to one event loop."""

    def __init__(
        self,
        workbench: Workbench,
        settings: Settings,
        *,
        ping: float = PING_SECONDS,
        limits: ConnectionLimits | None = None,
        handover: Handover | None = None,
        made_key: str | None = None,
    ) -> None:
        """`ping` in seconds; `limits` of connections are by what the system allows, unless given; `handover` is what a
        supervisor holds for the server; `made_key`: the one that an earlier server of this run was given, for clients
        that know it."""
        if handover is not None:
            made = (handover.made_key,) if handover.made_key is not None else settings.server.api_keys
            server = replace(settings.server, port=handover.port, api_keys=made)
            settings = replace(settings, server=server, ollama=replace(settings.ollama, port=handover.ollama_port))
        self.key_generated = handover is not None and handover.made_key is not None
        if not has_keys(settings.server) and not is_loopback(settings.server.host):
            made = (made_key or secrets.token_urlsafe(24),)
            settings = replace(settings, server=replace(settings.server, api_keys=made))
            self.key_generated = True
        self.api_key = next(iter(settings.server.api_keys), None)
        """One that clients may send, where the settings tell any; those of a file are not for showing."""
        self.asks_for_key = has_keys(settings.server)
        """Whether clients must send one."""
        self._settings = settings
        self._held = handover
        self._workbench = workbench
        self._ping = ping
        self._limits = choose_limits(count_descriptors()) if limits is None else limits
        self._live = LiveStreams()
        self._sockets = ServerSockets()
        self._uvicorn: EmbeddedUvicorn | None = None
        self._task: asyncio.Task[None] | None = None
        self._allowances: Allowances | None = None
        """Of the keys, while it runs."""
        self._key_watch: KeyWatch | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def port(self) -> int:
        """The port that is bound, also where port 0 was asked for; the one in the settings while nothing is."""
        bound = read_port(self._sockets.main)
        return self._settings.server.port if bound is None else bound

    @property
    def url(self) -> str:
        """An address that works from this machine, without a path."""
        return self._write_url(self.port)

    @property
    def ollama_url(self) -> str | None:
        """The same for Ollama's clients, where the server listens on a port of theirs."""
        bound = read_port(self._sockets.ollama)
        return None if bound is None else self._write_url(bound)

    def _write_url(self, port: int) -> str:
        return f"http://{quote_host(find_reachable(self._settings.server.host))}:{port}"

    def curl(self, model: str, kind: ModelKind = ModelKind.CHAT) -> str:
        """A line for the shell that asks `model` something that models of its kind answer. It holds the key only where
        that was made for this run; the user's own is taken from the environment."""
        made = self.api_key if self.key_generated else None
        return format_curl(self.url, model, kind, asks_for_key=self.asks_for_key, made_key=made)

    def describe_for(self, model: str, kind: ModelKind = ModelKind.CHAT) -> ServedAt:
        """Where and how `model` is asked, for short programs. It holds the key as `curl` does."""
        made = self.api_key if self.key_generated else None
        return ServedAt(self.url, model, kind, self.asks_for_key, made)

    async def start(self) -> None:
        """Returns when the server listens. Raises ServerError when it cannot, ConfigError for a file of keys that
        is wrong; does nothing when it runs."""
        if self.running:
            return
        if self._held is not None and self._held.sockets:
            self._sockets = ServerSockets(adopt_sockets(self._held.sockets), adopt_sockets(self._held.ollama_sockets))
        else:
            server = self._settings.server
            self._sockets = open_server_sockets(server.host, server.port, self._settings.ollama.port)
        self._live.open()
        try:
            # Importing Litestar takes the better part of a second, in which a screen would stand still.
            self._uvicorn = await asyncio.to_thread(self._build)
            if self._allowances is not None:
                self._workbench.requests.observe(self._allowances)
            if self._key_watch is not None:
                self._watching = asyncio.create_task(self._key_watch.run(), name="key-watch")
            self._task = asyncio.create_task(self._uvicorn.serve(sockets=self._sockets.all), name="http-server")
            listening = asyncio.create_task(self._uvicorn.listening.wait())
            await asyncio.wait({self._task, listening}, return_when=asyncio.FIRST_COMPLETED)
            listening.cancel()
        except BaseException:
            self._release()
            raise
        if self._task.done():
            self._release()
            raise ServerError("The server ended while it was starting; the log says why.") from self._task.exception()

    async def stop(self, drain: float = DRAIN_SECONDS) -> None:
        """Take no more connections, let running requests finish for `drain` seconds, then cancel them.

        May be cancelled itself and called again, to hurry.
        """
        if self._task is None or self._uvicorn is None:
            return
        self._uvicorn.end()
        self._live.end_watching()
        if not await self._ended(drain):
            self._live.cancel_all()
            if not await self._ended(GRACE_SECONDS):
                self._uvicorn.cancel_requests()
            if not await self._ended(GRACE_SECONDS):
                self._uvicorn.abandon()
                if not await self._ended(GRACE_SECONDS):
                    self._task.cancel()
                    await self._ended(GRACE_SECONDS)
        self._release()

    async def wait(self) -> None:
        """Returns when the server has ended, by `stop` or by failing."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _ended(self, seconds: float) -> bool:
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)
        return not self.running

    def _release(self) -> None:
        # What is answered in the background has no connection by which it would end.
        self._live.cancel_all()
        self._sockets.close()
        self._sockets = ServerSockets()
        self._uvicorn = self._task = None
        if self._watching is not None:
            self._watching.cancel()
        self._watching = self._key_watch = None
        if self._allowances is not None:
            self._workbench.requests.leave_unobserved(self._allowances)
            self._allowances = None

    def _read_spent(self) -> Mapping[str, int]:
        """Tokens of this day, by key, of before the start. Waits for the disk."""
        if self._workbench.usage is None:
            return {}
        try:
            return self._workbench.usage.account.read_tokens(datetime.now().astimezone().date())
        except (sqlite3.Error, OSError) as error:
            log.warning("the limits of this day begin anew", why=str(error))
            return {}

    def _build(self) -> EmbeddedUvicorn:
        from api.app import create_app
        from api.http.gatekeeper import Gatekeeper
        from api.http.key_watch import KeyWatch
        from api.transport.uvicorn_guest import EmbeddedUvicorn

        source = KeySource(self._settings.server)
        gate = Gatekeeper(source.read(), self._settings.limits, self._read_spent())
        self._key_watch = KeyWatch(source, gate, self._read_spent)
        self._allowances = gate.allowances
        app = create_app(self._workbench, self._settings, live=self._live, ping=self._ping, gate=gate)
        return EmbeddedUvicorn(app, self._limits, self._settings.server.max_body, self._ping)
