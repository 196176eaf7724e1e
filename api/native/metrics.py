"""GET /metrics: what happens here, for Prometheus."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from api.http.contract import PLAIN, RouteReply, declare_contract
from core.observing.catalog import BUILD, TELEMETRY_DROPPED
from core.observing.gauges import read_snapshot
from core.observing.tally import MetricReading
from core.workbench import Workbench

PATH: Final = "/metrics"
FRESH_SECONDS: Final = 1.0
"""How old a page may be: scrapers that ask more often are given the same one."""
OPENMETRICS: Final = "application/openmetrics-text"


class MetricsPage:
    """Gathers on the event loop, writes on a thread, and does either once for all who ask at a time."""

    def __init__(self, workbench: Workbench, version: str, fresh: float = FRESH_SECONDS) -> None:
        """`fresh`: seconds."""
        self._workbench = workbench
        self._build = MetricReading(BUILD, (((version,), 1),))
        self._fresh = fresh
        self._gathered = float("-inf")
        self._readings: tuple[MetricReading, ...] = ()
        self._pages: dict[bool, asyncio.Task[tuple[bytes, str]]] = {}

    async def read(self, *, openmetrics: bool) -> tuple[bytes, str]:
        """The page and its content type. Raises Busy, ModelNotReady where the workbench is closed."""
        if time.monotonic() - self._gathered >= self._fresh and not self._is_writing():
            self._readings = self._gather()
            self._gathered = time.monotonic()
            self._pages = {}
        page = self._pages.get(openmetrics)
        if page is None:
            page = self._pages[openmetrics] = asyncio.create_task(self._write(openmetrics))
        # It is written for all who wait for it, whoever of them leaves.
        return await asyncio.shield(page)

    def _is_writing(self) -> bool:
        return any(not page.done() for page in self._pages.values())

    def _gather(self) -> tuple[MetricReading, ...]:
        bench = self._workbench
        dropped = bench.telemetry.dropped if bench.telemetry is not None else 0
        told = MetricReading(TELEMETRY_DROPPED, (((), dropped),))
        return (*bench.meter.read_counts(), *read_snapshot(bench.snapshot()), self._build, told)

    async def _write(self, openmetrics: bool) -> tuple[bytes, str]:
        return await self._workbench.lanes.metrics.run(_write_page, self._readings, openmetrics)


def _write_page(readings: tuple[MetricReading, ...], openmetrics: bool) -> tuple[bytes, str]:
    from core.observing.exposition import read_process, render_metrics

    return render_metrics((*readings, *read_process()), openmetrics=openmetrics)


def build_metrics_route(workbench: Workbench, version: str, *, needs_key: bool) -> HTTPRouteHandler:
    page = MetricsPage(workbench, version)

    @get(
        PATH,
        summary="What happens here, for Prometheus; docs/metrics.md lists it",
        opt=declare_contract(
            RouteReply("Every metric, in Prometheus' text format or in OpenMetrics", {PLAIN: None, OPENMETRICS: None}),
            needs_key=needs_key,
            sums=needs_key,
        ),
    )
    async def tell_metrics(request: Request[object, object, State]) -> Response[bytes]:
        body, media = await page.read(openmetrics=OPENMETRICS in request.headers.get("accept", ""))
        return Response(body, media_type=media)

    return tell_metrics
