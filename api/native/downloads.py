"""/v1/downloads: the queue of downloads. POST adds a model to it; /{id}/pause and /{id}/resume; DELETE cancels one."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from msgspec import Meta, Struct

from api.http.contract import ASKING_HUB, DOWNLOADING, READING, declare_contract, reply_with
from api.http.field_rules import tell_ignored
from api.http.leaving import run_while_connected
from api.http.redact import drop_folders
from api.http.replies import add_headers
from api.http.settle import JsonBody, Wire
from api.openai import fields
from core.errors import DownloadError, DownloadNotFound, RequestError
from core.models.downloads.manager import Downloads
from core.models.downloads.status import DownloadItem, DownloadState
from core.workbench import Workbench

MOST_BODY_BYTES = 16 * 1024
"""Bytes; a name is all there is in one."""
OVER = (DownloadState.DONE, DownloadState.CANCELLED)
"""Of these there is nothing to cancel: they are taken off the list."""


class DownloadRequest(Wire, frozen=True):
    """The body of POST /v1/downloads."""

    rules = fields.MODEL

    model: Annotated[str, Meta(min_length=1, max_length=1024)]
    """As `tui pull` takes it: `owner/name:Q4_K_M`, or a name of the catalog."""


class DownloadRow(Struct, frozen=True):
    id: str
    model: str
    state: str
    total_bytes: int
    downloaded_bytes: int
    bytes_per_second: float
    eta_seconds: float | None
    note: str | None
    retry_in_seconds: float | None
    error: str | None


class DownloadList(Struct, frozen=True):
    downloads: list[DownloadRow]


BODY: Final = JsonBody(DownloadRequest)


def build_download_routes(workbench: Workbench) -> list[HTTPRouteHandler]:
    """Downloads touch the disk and the network, so each answer is made on a thread of its own."""

    @get(
        "/v1/downloads",
        summary="The downloads, with their progress",
        opt=declare_contract(
            reply_with(DownloadList, "In the order in which they are fetched"), outcomes=(DownloadError,), admin=True
        ),
    )
    async def list_downloads() -> DownloadList:
        items = await workbench.lanes.disk.run(workbench.downloads.items)
        return DownloadList([build_row(item) for item in items])

    @post(
        "/v1/downloads",
        status_code=202,
        summary="Download a model",
        opt=declare_contract(
            reply_with(DownloadRow, "The download, queued", 202),
            body=BODY,
            outcomes=(*READING, *ASKING_HUB, *DOWNLOADING),
            admin=True,
        ),
    )
    async def add_download(request: Request[object, object, State]) -> Response[DownloadRow]:
        asked = await BODY.read(request.receive, MOST_BODY_BYTES)
        asking = workbench.lanes.hub.run(enqueue_model, workbench, asked.body.model)
        row = build_row(await run_while_connected(request.receive, asking))
        return add_headers(row, tell_ignored(asked.ignored), 202)

    @get(
        "/v1/downloads/{download_id:str}",
        summary="One download",
        opt=declare_contract(reply_with(DownloadRow, "The download"), outcomes=(DownloadNotFound,), admin=True),
    )
    async def get_download(download_id: FromPath[str]) -> DownloadRow:
        return build_row(await workbench.lanes.disk.run(workbench.downloads.item, download_id))

    @delete(
        "/v1/downloads/{download_id:str}",
        status_code=200,
        summary="Cancel a download, or unlist one that is over",
        opt=declare_contract(
            reply_with(DownloadRow, "The download, as it is left"), outcomes=(RequestError, *DOWNLOADING), admin=True
        ),
    )
    async def cancel_download(download_id: FromPath[str], discard: FromQuery[bool] = False) -> DownloadRow:
        return build_row(await workbench.lanes.disk.run(cancel_item, workbench.downloads, download_id, discard))

    @post(
        "/v1/downloads/{download_id:str}/pause",
        status_code=200,
        summary="Pause a download",
        opt=declare_contract(reply_with(DownloadRow, "The download"), outcomes=DOWNLOADING, admin=True),
    )
    async def pause_download(download_id: FromPath[str]) -> DownloadRow:
        return build_row(await workbench.lanes.disk.run(pause_item, workbench.downloads, download_id))

    @post(
        "/v1/downloads/{download_id:str}/resume",
        status_code=202,
        summary="Go on with a download",
        opt=declare_contract(
            reply_with(DownloadRow, "The download, queued again", 202), outcomes=DOWNLOADING, admin=True
        ),
    )
    async def resume_download(download_id: FromPath[str]) -> DownloadRow:
        return build_row(await workbench.lanes.disk.run(resume_item, workbench.downloads, download_id))

    return [list_downloads, add_download, get_download, cancel_download, pause_download, resume_download]


def enqueue_model(workbench: Workbench, model: str) -> DownloadItem:
    return workbench.downloads.item(
        workbench.downloads.enqueue(workbench.models.store.find(workbench.models.store.read_asked(model)))
    )


def cancel_item(downloads: Downloads, key: str, discard: bool) -> DownloadItem:
    item = downloads.item(key)
    if item.state in OVER and not discard:
        downloads.forget(key)
        return item
    downloads.cancel(key, discard=discard)
    return downloads.item(key)


def pause_item(downloads: Downloads, key: str) -> DownloadItem:
    downloads.pause(key)
    return downloads.item(key)


def resume_item(downloads: Downloads, key: str) -> DownloadItem:
    downloads.resume(key)
    return downloads.item(key)


def build_row(item: DownloadItem) -> DownloadRow:
    return DownloadRow(
        id=item.id,
        model=item.name,
        state=item.state.value,
        total_bytes=item.total,
        downloaded_bytes=item.done,
        bytes_per_second=round(item.rate, 1),
        eta_seconds=None if item.eta is None else round(item.eta, 1),
        note=item.note and drop_folders(item.note),
        retry_in_seconds=None if item.again is None else round(item.again, 1),
        error=item.error and drop_folders(item.error),
    )
