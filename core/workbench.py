"""Workbench: the one object a front end holds, with four doors: models, downloads, requests and the bench."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import psutil

from core.bench.engine_bench import EngineBench
from core.bench.results import History
from core.capture.ring import CaptureRing
from core.contract.options import LoadOptions
from core.conversations.store import ConversationStore
from core.decoding.masks.trials import FormTrials
from core.devices.device import Device, DeviceKind
from core.devices.listing import open_lister
from core.engines.registry import Engines
from core.errors import EngineFailed
from core.lanes import WorkLanes
from core.models.downloads.manager import Downloads
from core.models.store import Store
from core.observing.meter import Meter
from core.observing.recent import RecentRequests
from core.observing.request_log import RequestLog
from core.priority import shorten_turns
from core.serving.factory import ModelFactory
from core.serving.intake import RequestIntake
from core.serving.own_capture import OwnCapture
from core.serving.pool.loader import ModelLoader
from core.serving.prefix_store import open_prefixes
from core.serving.served_models import ServedModels
from core.serving.usage_ledger import UsageLedger
from core.settings.schema import Folders, Settings, find_folders
from core.snapshots import DeviceGauge, MachineSnapshot, RequestRow, Snapshot
from core.supervision import NoWitness, Past, Witness
from core.telemetry.last_moments import open_last_moments
from core.telemetry.model_log import ModelLogs
from core.trial.probe import Prober
from core.usage import UsageAccount

if TYPE_CHECKING:
    from core.observing.otlp.exporter import TelemetryExporter
    from core.settings.telemetry import TelemetrySettings


TELL_SECONDS: Final = 0.3
"""That the event loop has to tell clients that the process is about to end."""
FLUSH_SECONDS: Final = 0.5
"""That each file may take to be written where the process is about to end."""


def _build_exporter(settings: TelemetrySettings, find_served: Callable[[str], str | None]) -> TelemetryExporter | None:
    if settings.url is None:
        return None
    from core.observing.otlp.exporter import TelemetryExporter

    return TelemetryExporter(settings.url, settings.headers, find_served)


def _gauge_device(device: Device) -> DeviceGauge:
    return DeviceGauge(
        id=device.id,
        name=device.name,
        backend=device.backend.value,
        memory_total=device.total,
        memory_free=device.free,
        shares_host=device.kind is DeviceKind.UNIFIED,
        load=device.load,
    )


def _keep_silent(_: str) -> None:
    pass


class Workbench:
    """Belongs to one event loop; constructing it is cheap and loads nothing."""

    def __init__(
        self,
        settings: Settings,
        where: Folders | None = None,
        engines: Engines | None = None,
        options: LoadOptions | None = None,
        announce: Callable[[str], None] = _keep_silent,
        past: Past = Past(),
        witness: Witness = NoWitness(),
    ) -> None:
        """`options` load every model instead of those that the settings make. `announce` is told in a line each what
        choosing an engine found, on the thread of the model that is loaded. `past` tells what became of the servers
        before this one, where they were supervised."""
        shorten_turns()
        self.settings = settings
        self.past = past
        self.folders = where or find_folders()
        self.lanes = WorkLanes()
        """The threads on which blocking work is done."""
        found = engines or Engines()
        chosen = options or LoadOptions().overlaid_with(settings.model)
        store = Store(settings, self.folders, found, chosen)
        cache = self.folders.cache
        prober = Prober(cache / "probes", settings.probe.timeout, store.learn, rated=store.learn_rate)
        loader = ModelLoader(
            settings,
            found,
            prober,
            chosen,
            cache,
            announce,
            lambda name: store.resolve(store.read_own(settings.source(name))),
            store.records.correction,
            store.learn_placed,
        )
        self._prefixes = open_prefixes(settings, self.folders)
        self._trials = FormTrials()
        factory = ModelFactory(
            settings,
            store,
            loader,
            self.lanes,
            self._trials,
            prober.settled,
            self._prefixes,
            past=past,
            witness=witness,
        )
        self._process = psutil.Process()
        self.devices = open_lister()
        """What models can lie on."""
        self.devices.keep_in(cache)
        self.devices.use_servers(settings.list_rpc_servers())
        self.logs = ModelLogs()
        """What is said of each model."""
        self.models = ServedModels(settings, store, factory, self.lanes, self._model_bytes, self.logs.attach)
        """Those that are served, and in its store those that one could have."""
        self.requests = RequestIntake(self.models, settings.route, witness)
        """The way in for requests, and their cancelling."""
        self.usage = UsageLedger(UsageAccount(self.folders.state)) if settings.usage.enabled else None
        """What they have used; None where no account of it is kept."""
        if self.usage is not None:
            self.requests.observe(self.usage)
        self.captures = CaptureRing(self.folders, settings.capture)
        """The last requests, where the user wants them kept."""
        if self.captures.is_on:
            self.requests.capture_own(OwnCapture(self.captures))
        self.conversations = (
            ConversationStore(self.folders.state, settings.conversations) if settings.conversations.enabled else None
        )
        """The chat's; None where they are not kept."""
        self.meter = Meter(self.models.find_served)
        """Counts what requests were like."""
        self.recent = RecentRequests()
        """What became of the last requests."""
        self.requests.observe(self.meter)
        self.requests.observe(self.recent)
        self.requests.observe(RequestLog())
        self.telemetry = _build_exporter(settings.telemetry, self.models.find_served)
        """Tells a collector of requests; None where there is none, and then nothing of it is imported."""
        if self.telemetry is not None:
            self.requests.observe(self.telemetry)
        self.bench = EngineBench(
            found,
            prober,
            loader,
            self.models,
            self.requests.submit,
            History(self.folders.state / "benchmarks.jsonl"),
            timeout=settings.probe.timeout,
        )
        """Engines, and how fast they are."""
        self._started = time.monotonic()
        self._witness = witness
        open_last_moments().add(self._keep_all)

    @property
    def downloads(self) -> Downloads:
        """What is fetched from the Hub, what waits and what was broken off."""
        return self.models.store.downloads

    def _keep_all(self, why: str) -> None:
        """Something outside ends the process: clients are told, and what has come to its end is kept."""
        self._witness.ending(why)
        for host in self.models.hosts:
            host.fail_all(EngineFailed(why))
        time.sleep(TELL_SECONDS)
        if self.conversations is not None:
            self.conversations.flush(FLUSH_SECONDS)
        if self.usage is not None:
            self.usage.account.flush(FLUSH_SECONDS)
        if self.captures.is_on:
            self.captures.flush(FLUSH_SECONDS)

    async def close(self) -> None:
        """Unload everything, and stop the downloads where they are. Nothing is loaded afterwards."""
        # What users have written comes first, whatever becomes of the rest.
        if self.conversations is not None:
            await asyncio.to_thread(self.conversations.close)
        await self.models.close()
        if self.usage is not None:
            await asyncio.to_thread(self.usage.account.close)
        if self.telemetry is not None:
            await asyncio.to_thread(self.telemetry.close)
        await asyncio.to_thread(self._prefixes.close, self.settings.server.drain_timeout)
        await asyncio.to_thread(self.captures.close)
        self.logs.detach()
        open_last_moments().remove(self._keep_all)
        self.lanes.close()
        self._trials.close()
        await asyncio.to_thread(self.models.store.close)

    def snapshot(self) -> Snapshot:
        memory = psutil.virtual_memory()
        in_memory, on_disk = self._prefixes.stats()
        return Snapshot(
            taken=time.time(),
            uptime=time.monotonic() - self._started,
            models=self.models.snapshots(),
            machine=MachineSnapshot(
                cpu_percent=psutil.cpu_percent(),
                memory_total=memory.total,
                memory_available=memory.available,
                process_resident=self._process.memory_info().rss,
                devices=tuple(map(_gauge_device, self.devices.peek().accelerators)),
            ),
            pool=self.models.pool_snapshot(),
            opening=self.models.opening,
            arriving=self.requests.rows(),
            prefixes_in_memory=in_memory,
            prefixes_on_disk=on_disk,
            used_today=self.usage.today if self.usage is not None else None,
        )

    def list_requests(self) -> tuple[RequestRow, ...]:
        """Those that wait or run: what a snapshot says of them, without the rest of it."""
        return (*self.requests.rows(), *(row for model in self.models.snapshots() for row in model.requests))

    def _model_bytes(self) -> int:
        """What this process takes now for models: prefixes in memory have a bound of their own."""
        return self._process.memory_info().rss - self._prefixes.memory_used
