"""GET /v1/engines: which engines can run here and on what, and what mends those that cannot."""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from api.http.contract import declare_contract, reply_with
from core.devices.device import Backend, Device, DeviceKind
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


class DeviceRow(Struct, frozen=True):
    id: str
    """As llama.cpp calls it: `CUDA0`; empty for the host, and for a card that it does not use."""
    name: str
    kind: DeviceKind
    backend: Backend
    memory_total: int
    """Bytes."""
    memory_free: int
    load: float | None
    """Percent of its time that it computes; null where nobody tells."""
    address: str
    """On the PCI bus; empty where it has none."""


class UnusedDeviceRow(Struct, frozen=True):
    device: DeviceRow
    reason: str
    """Why models do not run on it."""
    mend: str
    """The command that mends it; empty where there is none."""


class EngineList(Struct, frozen=True):
    engines: list[EngineRow]
    devices: list[DeviceRow]
    """What models can lie on: the host first, then the accelerators."""
    unused_devices: list[UnusedDeviceRow]
    device_problems: list[str]
    """What could not be found out about devices."""
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
        survey = await workbench.lanes.disk.run(workbench.devices.survey)
        unused = [UnusedDeviceRow(_list_device(each.card), each.reason, each.mend) for each in survey.unused]
        return EngineList(
            rows,
            [_list_device(each) for each in survey.devices],
            unused,
            list(survey.problems),
            workbench.models.active_engine,
        )

    return list_engines


def _list_device(device: Device) -> DeviceRow:
    return DeviceRow(
        id=device.id,
        name=device.name,
        kind=device.kind,
        backend=device.backend,
        memory_total=device.total,
        memory_free=device.free,
        load=device.load,
        address=device.address,
    )
