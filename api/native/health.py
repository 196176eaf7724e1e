"""GET /health: whether requests would be answered now. Needs no key."""

from __future__ import annotations

from typing import Literal

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct
from msgspec.structs import replace

from api.http.contract import declare_contract, reply_with
from api.http.redact import drop_folders
from core.snapshots import Absent, ModelState, Snapshot
from core.supervision import Past
from core.workbench import Workbench

Status = Literal["ok", "loading", "degraded", "failed"]
OF_STATE: dict[ModelState, Status] = {
    ModelState.READY: "ok",
    ModelState.LOADING: "loading",
    ModelState.RESTARTING: "degraded",
    ModelState.BROKEN: "degraded",
    ModelState.FAILED: "failed",
}


class Health(Struct, frozen=True):
    status: Status
    """Of the default model: `ok` when a request for it would be answered, also by loading it first; `loading` while it
    is on its way; `failed` when it could not be loaded; `degraded` when it restarts, when it broke down and a request
    loads it again, when another model is down, or when there is none."""
    engine: str | None
    model: str | None
    uptime_seconds: float
    detail: str = ""
    restarts: int = 0
    """How often a supervisor brought the server back."""
    last_death: str = ""
    """What the server before this one died of; empty where none has."""


def build_health_routes(workbench: Workbench) -> list[HTTPRouteHandler]:
    contract = declare_contract(
        reply_with(Health, "Requests are answered"), reply_with(Health, "They are not", 503), needs_key=False
    )

    @get(["/health", "/healthz"], summary="Whether requests would be answered", opt=contract)
    async def health_check() -> Response[Health]:
        return tell_health(workbench)

    @get("/v1/health", summary="The same, among the routes of OpenAI's clients", opt=contract)
    async def health_check_beside() -> Response[Health]:
        return tell_health(workbench)

    return [health_check, health_check_beside]


def tell_health(workbench: Workbench) -> Response[Health]:
    health, ready = judge_health(workbench.snapshot(), workbench.models.first_choice)
    health, ready = add_past(health, ready, workbench.past, workbench.models.first_choice)
    # It is asked without a key.
    paths = workbench.models.paths
    told = replace(
        health,
        detail=drop_folders(health.detail, paths),
        last_death=drop_folders(health.last_death, paths),
    )
    return Response(told, status_code=200 if ready else 503)


def add_past(health: Health, ready: bool, past: Past, default: str | None) -> tuple[Health, bool]:
    """The report with what a supervisor knows of the servers before this one, whose models may be refused for it."""
    told = replace(health, restarts=past.restarts, last_death=past.last_death)
    if default is not None and default in past.refused:
        return replace(told, status="failed", engine=None, model=default, detail=past.refused[default]), False
    if past.refused and told.status == "ok":
        return replace(told, status="degraded", detail=" ".join((health.detail, *past.refused.values())).strip()), ready
    return told, ready


def judge_health(snapshot: Snapshot, default: str | None) -> tuple[Health, bool]:
    """The report, and whether a request for the default model, or for any where there is none, would be answered."""
    shown = next((model for model in snapshot.models if model.name == default), None)
    absent = next((model for model in snapshot.pool.absent if model.name == default), None)
    if shown is None and absent is None:
        shown = min(snapshot.models, key=lambda model: model.state is not ModelState.READY, default=None)
    if shown is not None:
        status, detail = OF_STATE[shown.state], shown.detail
    elif snapshot.opening:
        status, detail = "loading", f"looking for {', '.join(snapshot.opening)}"
    else:
        status, detail = _without_any(snapshot, absent)
    if shown is not None and shown.state is ModelState.BROKEN:
        detail = f"{detail}. A request loads {shown.name} again."
    ready = status == "ok" or (shown is not None and shown.state is ModelState.BROKEN)
    if ready and _has_failures(snapshot):
        status = "degraded"
    if ready and not detail:
        # Requests are answered all the same, only slower after the next start.
        detail = snapshot.prefixes_on_disk.problem
    report = Health(
        status=status,
        engine=shown.engine or None if shown else None,
        model=shown.name if shown else None,
        uptime_seconds=round(snapshot.uptime, 1),
        detail=detail,
    )
    return report, ready


def _without_any(snapshot: Snapshot, default: Absent | None) -> tuple[Status, str]:
    """Where neither the default model nor any other is loaded."""
    candidates = [default] if default is not None else list(snapshot.pool.absent)
    if usable := [each.name for each in candidates if not each.problem]:
        # They were idle for long enough to be unloaded, or wait for their first request.
        either = usable[0] if len(usable) == 1 else f"one of {', '.join(usable)}"
        return "ok", f"A request loads {either}."
    if candidates:
        return "failed", candidates[0].problem
    if snapshot.pool.failures:
        return "failed", snapshot.pool.failures[-1].reason
    return "degraded", "No model is loaded."


def _has_failures(snapshot: Snapshot) -> bool:
    """Whether any of the models that are served is not as it should be."""
    return any(model.state.is_down or model.state is ModelState.RESTARTING for model in snapshot.models) or any(
        model.problem for model in snapshot.pool.absent
    )
