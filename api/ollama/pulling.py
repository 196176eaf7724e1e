"""POST /api/pull: a model of the Hub is downloaded by the workbench's own queue, its progress told line by line."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from api.http.answer import UNHELD
from api.http.contract import ASKING_HUB, DOWNLOADING, JSON, LINES, READING, RouteReply, declare_contract
from api.http.field_rules import tell_ignored
from api.http.leaving import run_while_connected
from api.http.replies import Headers, JsonReply
from api.http.settle import JsonBody
from api.native.downloads import enqueue_model
from api.ollama.errors import OLLAMA_ERRORS
from api.ollama.names import LIBRARIES, resolve_name
from api.ollama.replies import PullLine
from api.ollama.wire import OllamaPull
from api.ollama.writer import MEDIA
from core.errors import BenchtopError, Cancelled, DownloadError, ModelNotFound
from core.models.downloads.status import DownloadItem, DownloadState
from core.names import BuiltIn, Unknown, shorten_name
from core.workbench import Workbench

MOST_BODY_BYTES: Final = 64 * 1024
POLL_SECONDS: Final = 0.25
BODY: Final = JsonBody(OllamaPull)
ENCODER: Final = msgspec.json.Encoder()
SUCCESS: Final = PullLine(status="success")


class Pulls:
    """The downloads that clients wait for. One that a client began and that nobody waits for any more is paused: its
    next pull goes on with what is here. Belongs to one event loop."""

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench
        self._waiting: Counter[str] = Counter()
        self._begun: set[str] = set()
        """Those that were not under way before."""

    async def begin(self, model: str) -> DownloadItem:
        """Raises as `Downloads.enqueue` and `Store.find`."""
        lanes, downloads = self._workbench.lanes, self._workbench.downloads
        before = {item.id for item in await lanes.disk.run(downloads.items) if item.state.active}
        item = await lanes.hub.run(enqueue_model, self._workbench, model)
        if item.id not in before:
            self._begun.add(item.id)
        return item

    async def follow(self, item: DownloadItem) -> AsyncIterator[DownloadItem]:
        """The download as it goes on, to its end. Raises DownloadError where it does not end well."""
        lanes, downloads = self._workbench.lanes, self._workbench.downloads
        while True:
            yield item
            if not item.state.active:
                break
            await asyncio.sleep(POLL_SECONDS)
            item = await lanes.disk.run(downloads.item, item.id)
        # Whoever begins it anew may be no client of this.
        self._begun.discard(item.id)
        if item.state is not DownloadState.DONE:
            why = item.error or f"The download of {item.name} was {item.state.value}; pull it again to go on."
            raise DownloadError(why)

    @contextmanager
    def wait_for(self, item: DownloadItem) -> Iterator[None]:
        """Somebody waits inside."""
        self._waiting[item.id] += 1
        try:
            yield
        finally:
            self._waiting[item.id] -= 1

    async def give_up(self, item: DownloadItem) -> None:
        """A client that waited has left."""
        if item.id in self._begun and not self._waiting[item.id]:
            self._begun.discard(item.id)
            with suppress(BenchtopError):
                await self._workbench.lanes.disk.run(self._workbench.downloads.pause, item.id)


class PullStream:
    """An ASGI application that tells of a download until it is over, or until the client leaves."""

    def __init__(self, pulls: Pulls, item: DownloadItem, headers: Headers) -> None:
        self._pulls = pulls
        self._item = item
        self._headers = headers

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        head = [(b"content-type", MEDIA), *UNHELD, *self._headers]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        try:
            await run_while_connected(receive, self._tell(send))
        except Cancelled:
            await self._pulls.give_up(self._item)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _tell(self, send: Send) -> None:
        await _send_line(send, ENCODER.encode(PullLine(status="pulling manifest")))
        try:
            with self._pulls.wait_for(self._item):
                async for item in self._pulls.follow(self._item):
                    # What does not move is told all the same: clients give up on a stream that is silent for long.
                    await _send_line(send, ENCODER.encode(describe_item(item)))
            for status in ("verifying sha256 digest", "writing manifest"):
                await _send_line(send, ENCODER.encode(PullLine(status=status)))
            await _send_line(send, ENCODER.encode(SUCCESS))
        except BenchtopError as error:
            await _send_line(send, OLLAMA_ERRORS.write(error, "").body)


async def _send_line(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data + b"\n", "more_body": True})


def describe_item(item: DownloadItem) -> PullLine:
    """A download as one layer: all its files together."""
    digest = hashlib.sha256(item.name.encode()).hexdigest()
    if item.state is DownloadState.VERIFYING:
        return PullLine(status="verifying sha256 digest")
    return PullLine(status=f"pulling {digest[:12]}", digest=f"sha256:{digest}", total=item.total, completed=item.done)


def build_pull_route(workbench: Workbench) -> HTTPRouteHandler:
    pulls = Pulls(workbench)

    @post(
        "/api/pull",
        status_code=200,
        summary="Download a model of the Hub, in Ollama's dialect",
        opt=declare_contract(
            RouteReply("Lines of JSON, or the last of them where `stream` is false", {JSON: PullLine, LINES: PullLine}),
            body=BODY,
            outcomes=(*READING, *ASKING_HUB, *DOWNLOADING),
            errors=OLLAMA_ERRORS,
            admin=True,
        ),
    )
    async def pull_model(request: Request[object, object, State]) -> ASGIApp:
        asked = await BODY.read(request.receive, MOST_BODY_BYTES)
        headers = tell_ignored(asked.ignored)
        name = choose_pulled(workbench, await resolve_name(workbench.models, asked.body.called), asked.body.called)
        if name is None:
            return JsonReply(ENCODER.encode(SUCCESS) + b"\n", headers)
        item = await run_while_connected(request.receive, pulls.begin(name))
        if asked.body.stream is not False:
            return PullStream(pulls, item, headers)
        try:
            await run_while_connected(request.receive, _wait_for_end(pulls, item))
        except Cancelled:
            await pulls.give_up(item)
            raise
        return JsonReply(ENCODER.encode(SUCCESS), headers)

    return pull_model


async def _wait_for_end(pulls: Pulls, item: DownloadItem) -> None:
    with pulls.wait_for(item):
        async for _ in pulls.follow(item):
            pass


def choose_pulled(workbench: Workbench, name: str, asked: str) -> str | None:
    """What is to be downloaded; None for a model that is always here. Raises ModelNotFound for a name of Ollama's own
    library, from which nothing is downloaded."""
    known = next((each for each in workbench.models.members if each.name == name), None)
    parsed = workbench.models.store.read_asked(name)
    if isinstance(parsed, BuiltIn) or (known is not None and isinstance(parsed, Unknown)):
        return None
    if isinstance(parsed, Unknown) or asked.startswith(LIBRARIES):
        near = workbench.models.store.catalog.nearest(name)
        hint = f" Perhaps {' or '.join(near)} of the catalog is meant." if near else ""
        raise ModelNotFound(
            asked,
            f"{shorten_name(asked)} would be a name of Ollama's library, from which nothing is downloaded here; pull "
            f"hf.co/OWNER/REPOSITORY:QUANT of the Hub, or a name of `tui list --catalog`.{hint}",
        )
    return name
