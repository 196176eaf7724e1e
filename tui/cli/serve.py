"""`tui --serve`: the HTTP server without a screen."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.server import HttpServer
from core.errors import BenchtopError, ServerError
from core.foreign_text import make_printable
from core.hardware import list_network_addresses
from core.hosts import EVERYWHERE
from core.snapshots import ModelKind
from core.supervision import NoWitness, Past, ServerJournal, take_handover
from core.telemetry import log
from core.workbench import Workbench
from tui.cli.ensure import ensure_models
from tui.cli.output import write_error, write_text

if TYPE_CHECKING:
    from core.settings.schema import Settings

LOG: Final = log.get_logger(__name__)
INTERRUPTED_STATUS = 130
MOST_ADDRESSES: Final = 3
"""That are told; a machine with virtual networks has many."""
JOURNAL_SECONDS = 0.5
"""How old the number of requests in a supervised server's journal may be."""


def serve_models(settings: Settings, model: str, *, pull: bool = False) -> int:
    """Serve `model`, and those of the settings, until a signal comes; returns the exit code.

    `pull` downloads what is not here without asking. Raises BenchtopError when it cannot begin.
    """
    log.log_to_stderr(settings.log.level)
    ensure_models(settings, (settings.source(name) for name in _all(settings, model)), pull=pull)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, model))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings, model: str) -> int:
    signals = _Signals()
    held = take_handover()
    journal = ServerJournal(Path(held.journal)) if held is not None else None
    workbench = Workbench(settings, announce=_tell, past=held.past if held else Past(), witness=journal or NoWitness())
    server = HttpServer(workbench, settings, handover=held)
    keeping = asyncio.create_task(_keep(journal, workbench)) if journal is not None else None
    workbench.models.expect(_all(settings, model))
    if held is not None:
        signals.watch(sys.stdin.fileno())
    try:
        # The port comes first: one that is taken should be told before a model has been loaded for a minute, and
        # /health can say `loading` meanwhile.
        await server.start()
        LOG.info("listening", host=settings.server.host, port=server.port)
        # What is there by now stays. To look through it for garbage, whenever a request brings many objects, would hold
        # up all streams.
        gc.freeze()
        if await signals.unless(_load(workbench, model)):
            _announce(server, workbench)
            if await signals.unless(server.wait()):
                raise ServerError("The server ended by itself; the log says why.")
        if running := len(workbench.list_requests()):
            patience = settings.server.drain_timeout
            LOG.info("stopping; a second signal breaks off what is under way", requests=running, at_most_s=patience)
        await signals.hurried(server.stop(settings.server.drain_timeout))
    finally:
        if keeping is not None:
            keeping.cancel()
        await server.stop(drain=0)
        await workbench.close()
    return signals.exit_code


def _all(settings: Settings, model: str) -> list[str]:
    """Each once, the one that is loaded first at the beginning."""
    return list(dict.fromkeys((model, *settings.models)))


async def _load(workbench: Workbench, model: str) -> None:
    """Know all models, load the first one and those that are never to be unloaded."""
    settings = workbench.settings
    await workbench.models.serve(_all(settings, model))
    pinned = [name for name, profile in settings.models.items() if profile.pin]
    for name in dict.fromkeys((model, *pinned)):
        try:
            await workbench.models.load(name)
        except BenchtopError as error:
            if not workbench.past.restarts:
                raise
            # The model served before, or a server died of it; the other models are served without it.
            write_error(str(error))


async def _keep(journal: ServerJournal, workbench: Workbench) -> None:
    """Write down what runs, so that a supervisor can tell which request or model the server died of."""
    while True:
        await asyncio.sleep(JOURNAL_SECONDS)
        journal.settle(Counter(row.model for row in workbench.list_requests()))


def _tell(line: str) -> None:
    write_text(make_printable(line))


def _announce(server: HttpServer, workbench: Workbench) -> None:
    model = workbench.models.default or ""
    serving = f"{model} with {workbench.models.active_engine}" if model else "no model"
    lines = [f"Serving {serving} at {server.url}/v1"]
    if workbench.settings.server.host in EVERYWHERE and (elsewhere := list_network_addresses()[:MOST_ADDRESSES]):
        urls = (f"http://{address}:{server.port}/v1" for address in elsewhere)
        lines.append(f"Other machines find it at {' or '.join(urls)}")
    if server.ollama_url is not None:
        lines.append(f"Ollama's clients find it at {server.ollama_url}")
    others = [name for name in _all(workbench.settings, model) if name not in workbench.models.loaded_names()]
    if others:
        lines.append(f"Loaded when a request names them: {', '.join(others)}")
    if workbench.settings.route.auto:
        lines.append(f"Requests for the model auto are routed: {workbench.settings.route.strategy.value}")
    if server.key_generated:
        lines.append(f"API key (made for this run; choose your own with --api-key): {server.api_key}")
    if model:
        kind = next((each.kind for each in workbench.snapshot().models if each.name == model), ModelKind.CHAT)
        lines.append(f"Try: {server.curl(model, kind)}")
    write_text("\n".join(map(make_printable, lines)))


class _Signals:
    """SIGINT and SIGTERM as something to wait for: the first one drains the server, a second one hurries it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        self.exit_code = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._loop.add_signal_handler(number, self._came, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda came, _: self._loop.call_soon_threadsafe(self._came, came))

    def watch(self, descriptor: int) -> None:
        """Treat the end of the pipe as a SIGTERM: the process that started this one has ended."""

        def read() -> None:
            while os.read(descriptor, 1024):
                pass
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._came, int(signal.SIGTERM))

        threading.Thread(target=read, name="supervisor", daemon=True).start()

    def _came(self, number: int) -> None:
        if self._first.is_set():
            self._second.set()
        self._first.set()
        if number == signal.SIGINT:
            self.exit_code = INTERRUPTED_STATUS

    async def unless(self, work: Coroutine[object, object, None]) -> bool:
        """Do `work` unless a signal comes first; whether it was done. Raises what it raises."""
        return await _before(self._first, work)

    async def hurried(self, work: Coroutine[object, object, None]) -> None:
        """Do `work`, but break it off at the second signal."""
        await _before(self._second, work)


async def _before(event: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    task = asyncio.create_task(work)
    waiter = asyncio.create_task(event.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.wait({task})
        return False
    finally:
        waiter.cancel()
