"""GET /v1/engines: which engines can run here, and what mends those that cannot."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from api.http.contract import declare_contract, reply_with
from core.workbench import Workbench


class EngineRow(Struct, frozen=True):
    name: str
    available: bool
    platform: str
    priority: int
    version: str | None
    reason: str | None
    mend: str | None
    keeps_prefixes: bool
    """Whether computed prefixes outlive their place in the KV cache, in memory and on disk."""


class EngineList(Struct, frozen=True):
    engines: list[EngineRow]
    active: str | None
    """The engine of the model that was loaded first."""


def build_engines_route(workbench: Workbench) -> HTTPRouteHandler:
    @get(
        "/v1/engines",
        summary="The engines and whether they run here",
        opt=declare_contract(reply_with(EngineList, "All engines, those too that cannot run")),
    )
    async def list_engines() -> EngineList:
        rows = [
            EngineRow(
                name=engine.name,
                available=engine.available,
                platform=engine.platform,
                priority=engine.priority,
                version=engine.version,
                reason=engine.reason,
                mend=engine.mend,
                keeps_prefixes=engine.keeps_prefixes,
            )
            for engine in workbench.bench.engines()
        ]
        return EngineList(rows, workbench.models.active_engine)

    return list_engines
