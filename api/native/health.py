"""GET /health: whether requests would be answered now. Needs no key."""

from __future__ import annotations

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct
from msgspec.structs import replace

from api.places import without_folders
from core.feed import ModelState, Snapshot
from core.workbench import Workbench


class Health(Struct, frozen=True):
    status: str
    """`ok`; `loading` while no model is ready but one will be; `degraded` when some or all have failed or restart."""
    engine: str | None
    model: str | None
    uptime_seconds: float
    detail: str = ""


def health_route(workbench: Workbench) -> HTTPRouteHandler:
    @get("/health", summary="Whether requests would be answered")
    async def health_check() -> Response[Health]:
        health, ready = health_of(workbench.snapshot(), workbench.default_model)
        # It is asked without a key.
        told = replace(health, detail=without_folders(health.detail, workbench.places))
        return Response(told, status_code=200 if ready else 503)

    return health_check


def health_of(snapshot: Snapshot, default: str | None) -> tuple[Health, bool]:
    """The report, and whether requests would be answered."""
    states = {model.state for model in snapshot.models}
    shown = next((model for model in snapshot.models if model.name == default), None)
    shown = shown or next(iter(snapshot.models), None)
    ready = ModelState.READY in states
    if not states and snapshot.pool.absent:
        # All of them were idle for long enough to be unloaded, or wait for their first request.
        names = ", ".join(absent.name for absent in snapshot.pool.absent)
        report = Health("ok", None, None, round(snapshot.uptime, 1), f"A request loads one of {names}.")
        return report, True
    if states and states <= {ModelState.READY, ModelState.LOADING}:
        status = "ok" if ready else "loading"
    else:
        status = "degraded"
    health = Health(
        status=status,
        engine=shown.engine if shown else None,
        model=shown.name if shown else None,
        uptime_seconds=round(snapshot.uptime, 1),
        detail=shown.detail if shown else "No model is loaded.",
    )
    return health, ready
