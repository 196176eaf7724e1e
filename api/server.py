"""uvicorn inside the loop that is running already: start, drain, stop. Imports Litestar and uvicorn only to start."""

from __future__ import annotations

import asyncio
import errno
import json
import secrets
import shlex
import socket
import sys
from typing import TYPE_CHECKING

from msgspec.structs import replace

from api.connection_limits import BACKLOG, ConnectionLimits, count_descriptors, limits_for
from api.live import LiveStreams
from api.loopback import is_loopback
from core.errors import ServerError

if TYPE_CHECKING:
    from api.embedded import EmbeddedUvicorn
    from core.config import Settings
    from core.workbench import Workbench

DRAIN_SECONDS = 30.0
"""How long running streams may go on after `stop`."""
GRACE_SECONDS = 2.0
"""How long cancelled streams may take to tell their clients."""
PING_SECONDS = 15.0
"""An idle stream says this often that it lives."""


class Server:
    """The HTTP server of a workbench. Can be started again after it was stopped; belongs to one event loop."""

    def __init__(
        self,
        workbench: Workbench,
        settings: Settings,
        *,
        ping: float = PING_SECONDS,
        limits: ConnectionLimits | None = None,
    ) -> None:
        """`ping` in seconds; `limits` of connections are by what the system allows, unless given."""
        given = settings.server.api_key or None  # an empty key would be one that nobody can send
        self.key_generated = given is None and not is_loopback(settings.server.host)
        self.api_key = secrets.token_urlsafe(24) if self.key_generated else given
        """What clients must send; None where nothing is asked of them."""
        self._settings = replace(settings, server=replace(settings.server, api_key=self.api_key))
        self._workbench = workbench
        self._ping = ping
        self._limits = limits_for(count_descriptors()) if limits is None else limits
        self._live = LiveStreams()
        self._socket: socket.socket | None = None
        self._uvicorn: EmbeddedUvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def port(self) -> int:
        """The port that is bound, also where port 0 was asked for; the one in the settings while nothing is."""
        if self._socket is None:
            return self._settings.server.port
        return int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """An address that works from this machine, without a path."""
        host = self._settings.server.host
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - binds nothing
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def curl(self, model: str) -> str:
        """A line for the shell that asks `model` a question, and works as it stands."""
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is a KV cache?"}]})
        words = ["curl", f"{self.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body]
        if self.api_key:
            words[2:2] = ["-H", f"Authorization: Bearer {self.api_key}"]
        return shlex.join(words)

    async def start(self) -> None:
        """Returns when the server listens. Raises ServerError when it cannot; does nothing when it runs."""
        if self.running:
            return
        self._socket = listen(self._settings.server.host, self._settings.server.port)
        self._live.open()
        try:
            # Importing Litestar takes the better part of a second, in which a screen would stand still.
            self._uvicorn = await asyncio.to_thread(self._build)
            self._task = asyncio.create_task(self._uvicorn.serve(sockets=[self._socket]), name="http-server")
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
        self._uvicorn.should_exit = True
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
        if self._socket is not None:
            self._socket.close()
        self._socket = self._uvicorn = self._task = None

    def _build(self) -> EmbeddedUvicorn:
        from api.app import create_app
        from api.embedded import EmbeddedUvicorn

        app = create_app(self._workbench, self._settings, live=self._live, ping=self._ping)
        return EmbeddedUvicorn(app, self._limits)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ServerError, which names the mend, when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise ServerError(f"The host {host!r} is no address of this machine; choose another with --host.") from error
    bound = socket.socket(family, kind, protocol)
    try:
        # On Windows the same option would let two programs share a port.
        if sys.platform != "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise ServerError(_why(host, port, error)) from error
    return bound


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use by another program; choose another with --port (0 takes a free one)."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} on {host} may not be bound by this user; choose one above 1023 with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"The host {host!r} is no address of this machine; choose another with --host."
    return f"Port {port} on {host} cannot be bound: {error.strerror}; choose another with --host or --port."
