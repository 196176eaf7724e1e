"""Workbench: the one object a front end holds. Models, requests, measuring and gauges are all reached through it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

import psutil
from msgspec.structs import replace

from core.bench.probe import Prober, Verdict
from core.bench.results import BenchRun, Change, History
from core.bench.runner import BenchSample, Plan, measure
from core.bench.suite import SuiteEvent, SuitePlan, run_suite
from core.config import Folders, ModelSettings, Settings, folders
from core.engines import EngineReport, Engines
from core.engines.base import Artifact, LoadOptions, ModelSpec
from core.errors import BenchtopError, ModelNotFound, RequestError
from core.feed import MachineSnapshot, ModelState, Snapshot
from core.models.library import LibraryEntry, scan
from core.models.resolve import resolve
from core.requests import Generation, Sampling, Transcription
from core.serving.host import Host
from core.serving.loader import ModelLoader
from core.serving.stream import Stream


def _keep_silent(_: str) -> None:
    pass


class Workbench:
    """Holds the loaded models. Belongs to one event loop; constructing it is cheap and loads nothing."""

    def __init__(
        self,
        settings: Settings,
        where: Folders | None = None,
        engines: Engines | None = None,
        options: LoadOptions | None = None,
        announce: Callable[[str], None] = _keep_silent,
    ) -> None:
        """`options` load every model instead of those that the settings make. `announce` is told in a line each what
        choosing an engine found, on the thread of the model that is loaded."""
        self.settings = settings
        self.folders = where or folders()
        self._engines = engines or Engines()
        self._prober = Prober(self.folders.cache / "probes", settings.probe.timeout)
        chosen = options or load_options(settings.model)
        cache = self.folders.cache
        self._loader = ModelLoader(settings, self._engines, self._prober, chosen, cache, announce)
        self._history = History(self.folders.state / "benchmarks.jsonl")
        self._hosts: dict[str, Host] = {}
        self._artifacts: dict[str, Artifact] = {}
        self._started = time.time()
        self._process = psutil.Process()

    async def load(self, name: str) -> str:
        """Load a model and return the name it is served by; returns at once when it is loaded already.

        Raises ModelNotFound, ArtifactError, LoadFailed, EngineUnavailable or EngineFailed.
        """
        artifact = resolve(name)
        host = self._hosts.get(artifact.name)
        if host is None or host.state is ModelState.FAILED:
            host = self._host(artifact)
            self._hosts[artifact.name] = host
            self._artifacts[artifact.name] = artifact
            host.start()
        try:
            await host.ready()
        except BenchtopError:
            if self._hosts.get(artifact.name) is host:
                del self._hosts[artifact.name], self._artifacts[artifact.name]
            raise
        return artifact.name

    async def unload(self, name: str) -> None:
        """Stop serving a model and free it; its requests fail. Raises ModelNotFound."""
        host = self._find(name)
        del self._hosts[host.name], self._artifacts[host.name]
        await host.stop()

    async def close(self) -> None:
        """Unload everything."""
        for name in list(self._hosts):
            await self.unload(name)

    @property
    def default_model(self) -> str | None:
        """The model that was loaded first, of those that are."""
        return next(iter(self._hosts), None)

    @property
    def active_engine(self) -> str | None:
        """The engine of the default model."""
        return next((host.engine for host in self._hosts.values()), None)

    def served_models(self) -> tuple[str, ...]:
        return tuple(self._hosts)

    def sampling_defaults(self, model: str) -> Sampling:
        """What a request for this model samples with where it says nothing. Raises ModelNotFound, ModelNotReady."""
        return self._find(model).spec.sampling

    def spec(self, model: str) -> ModelSpec:
        """What is true of a loaded model. Raises ModelNotFound, ModelNotReady."""
        return self._find(model).spec

    async def submit(self, request: Generation) -> Stream:
        """Queue a request. Raises ModelNotFound, ModelNotReady, RequestError or QueueFull."""
        host = self._find(request.model)
        if not request.request_id:
            request = replace(request, request_id=uuid4().hex)
        return await host.submit(request)

    async def transcribe(self, request: Transcription) -> Stream:
        """Queue a transcription; `core.tasks.transcribe.transcript` folds its events.

        Raises as `submit` does. Audio that cannot be decoded fails the stream before it is admitted.
        """
        host = self._find(request.model)
        if not request.request_id:
            request = replace(request, request_id=uuid4().hex)
        return await host.submit(request)

    async def count_tokens(self, request: Generation) -> int:
        """Tokens of the request's prompt. Raises as `submit` does, save QueueFull."""
        return await self._find(request.model).count(request)

    def cancel(self, request_id: str) -> bool:
        """False when no such request is queued or running."""
        return any(host.cancel(request_id) for host in self._hosts.values())

    def measure(
        self, model: str, *, prompt_tokens: int = 256, new_tokens: int = 64, rounds: int = 3, streams: int = 1
    ) -> AsyncIterator[BenchSample]:
        """Measure a loaded model as it serves.

        Raises ModelNotFound, ModelNotReady, and RequestError for more tokens than the context holds.
        """
        host = self._find(model)
        if prompt_tokens + new_tokens > host.spec.context:
            raise RequestError(
                f"{prompt_tokens} prompt tokens and {new_tokens} new ones do not fit the context of "
                f"{host.spec.context}; measure with fewer, or load the model with a larger --ctx-size."
            )
        plan = Plan(prompt_tokens, new_tokens, rounds, streams)
        return measure(model, plan, host.vocabulary, self.submit)

    def run_suite(
        self, names: Sequence[str], plan: SuitePlan, stop: threading.Event, tell: Callable[[SuiteEvent], None]
    ) -> BenchRun:
        """Measure every engine that runs each of the models here, and keep what was found. Blocks for minutes.

        Raises ModelNotFound, ArtifactError, EngineUnavailable; EngineFailed when no engine runs a model; Cancelled.
        """
        candidates = [each for name in names for each in self._loader.settled(self._artifact(name), stop)]
        run = run_suite(candidates, plan, self.settings.probe.timeout, stop, tell)
        self._history.add(run)
        return run

    def compare(self, run: BenchRun) -> list[Change]:
        """Each row of a run beside its predecessor. Touches the disk."""
        return self._history.compare(run)

    def engines(self) -> tuple[EngineReport, ...]:
        return self._engines.reports()

    def verdicts(self) -> list[Verdict]:
        """What trial runs have found on this machine. Touches the disk."""
        return self._prober.verdicts()

    def library(self) -> tuple[LibraryEntry, ...]:
        """Models on this machine. Touches the disk."""
        return scan([Path.cwd()], {artifact.path for artifact in self._artifacts.values()})

    def snapshot(self) -> Snapshot:
        memory = psutil.virtual_memory()
        return Snapshot(
            taken=time.time(),
            uptime=time.time() - self._started,
            models=tuple(host.snapshot() for host in self._hosts.values()),
            machine=MachineSnapshot(
                cpu_percent=psutil.cpu_percent(),
                memory_total=memory.total,
                memory_available=memory.available,
                process_resident=self._process.memory_info().rss,
            ),
        )

    def _artifact(self, name: str) -> Artifact:
        """Of a loaded model by the name it is served by, or of any other by what stands for it."""
        return self._artifacts.get(name) or resolve(name)

    def _find(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            known = ", ".join(self._hosts) or "none yet"
            raise ModelNotFound(name, f"The model {name!r} is not being served here; these are: {known}.")
        return host

    def _host(self, artifact: Artifact) -> Host:
        queue = self.settings.queue
        return Host(
            artifact.name,
            partial(self._loader.load, artifact),
            max_queue=queue.max_queue,
            queue_timeout=queue.queue_timeout,
            slots=self.settings.model.slots,
        )


def load_options(settings: ModelSettings) -> LoadOptions:
    return LoadOptions(
        context=settings.ctx_size,
        slots=settings.slots,
        threads=settings.threads,
        batch=settings.batch,
        kv_type=settings.kv_type,
        api_key=settings.remote_api_key,
    )
