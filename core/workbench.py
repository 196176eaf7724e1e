"""Workbench: the one object a front end holds. Models, requests, measuring and gauges are all reached through it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import psutil
from msgspec.structs import replace

from core.bench.results import BenchRun, Change, History
from core.bench.runner import BenchSample, Plan, run_plan
from core.bench.suite import SuiteEvent, SuitePlan, run_suite
from core.contract.artifact import Artifact
from core.contract.models import ModelSpec
from core.contract.options import LoadOptions, LoadSettings
from core.engines.registry import EngineReport, Engines
from core.errors import BenchtopError, ModelNotFound, ModelNotReady, NotDownloaded, RequestError, attach_paths
from core.hardware import describe_machine
from core.lanes import WorkLanes
from core.models.formats.registry import known_formats
from core.models.library.on_demand import Loadable, Shelf, loadable
from core.models.library.scan import LibraryEntry
from core.models.store import Store
from core.names import Name, are_same, clean_name, shorten_name
from core.plugins import Plugin, PluginBroken
from core.requests import Generation
from core.serving.ability import Request, ability_of
from core.serving.factory import ModelFactory
from core.serving.host import Host, Traits
from core.serving.pending import Arrivals
from core.serving.pool.eviction import default_limit
from core.serving.pool.loader import ModelLoader
from core.serving.pool.member import Lease, Member
from core.serving.pool.pool import Pool
from core.serving.prefix_store import open_prefixes
from core.serving.routing import AUTO, Route, choose
from core.serving.stream import Stream
from core.settings.profile import Profile
from core.settings.schema import Folders, Settings, folders
from core.sizes import parse_size
from core.snapshots import MachineSnapshot, ModelKind, RequestState, Snapshot
from core.supervision import NoWitness, Past, Witness
from core.trial.probe import Prober, ProbeVerdict


def _keep_silent(_: str) -> None:
    pass


def _heed_nothing(_: Traits) -> None:
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
        past: Past = Past(),
        witness: Witness = NoWitness(),
    ) -> None:
        """`options` load every model instead of those that the settings make. `announce` is told in a line each what
        choosing an engine found, on the thread of the model that is loaded."""
        self.settings = settings
        self.past = past
        """What became of the servers before this one, where they were supervised."""
        self._witness = witness
        self.folders = where or folders()
        self._engines = engines or Engines()
        chosen = options or LoadOptions().overlaid_with(settings.model)
        self.store = Store(settings, self.folders, self._engines, chosen)
        """The models that one could have."""
        cache = self.folders.cache
        self._prober = Prober(cache / "probes", settings.probe.timeout, self.store.learn)
        self._loader = ModelLoader(settings, self._engines, self._prober, chosen, cache, announce, self._artifact_of)
        self._history = History(self.folders.state / "benchmarks.jsonl")
        self._arrivals = Arrivals()
        self.lanes = WorkLanes()
        """The threads on which whatever blocks is done."""
        self._prefixes = open_prefixes(settings, self.folders)
        self._factory = ModelFactory(
            settings,
            self.store,
            self._loader,
            self.lanes,
            self._prober.settled,
            self._prefixes,
            past=past,
            witness=witness,
        )
        self._closed = False
        self._shelf = Shelf(self.store.library, self.lanes.disk)
        self._opening: list[str] = []
        self._turns = 0
        """Requests that were routed."""
        self._started = time.monotonic()
        self._process = psutil.Process()

    @cached_property
    def _pool(self) -> Pool:
        """Made on the event loop, when the first model is asked for. Raises ModelNotReady after `close`."""
        if self._closed:
            raise ModelNotReady("", "The workbench is closed; start it again.")
        pool = self.settings.pool
        whole = psutil.virtual_memory().total
        return Pool(
            self._factory,
            limit=default_limit(whole) if pool.memory_limit is None else parse_size(pool.memory_limit, whole),
            ttl=pool.model_ttl,
            # Prefixes in memory are bounded by themselves, and no model's.
            resident=lambda: self._process.memory_info().rss - self._prefixes.memory_used,
            max_queue=self.settings.queue.max_queue,
            lane=self.lanes.loading,
        )

    async def serve(self, names: Sequence[str]) -> None:
        """Know these models, to be loaded when a request names them. Raises as `load` does for a name that is none."""
        with self._looking_up(*names):
            for name in names:
                member = await self._resolved(name)
                self._known_as(member, kept=True)

    async def load(self, name: str, options: LoadSettings = LoadSettings()) -> str:
        """Load a model and return the name it is served by; returns at once when it is loaded already, unless `options`
        say something else than it was loaded with: then it is loaded anew, and its requests fail.

        Raises ModelNotFound, ArtifactError, EngineUnavailable or EngineFailed.
        """
        with self._looking_up(name):
            member = self._find(name) or await self._resolved(name)
        return await self._load_as(member, options)

    async def _load_as(self, member: Member, options: LoadSettings) -> str:
        profile = member.profile.overlaid_with(options)
        if profile == member.profile:
            await self._pool.load(self._known_as(member))
            return member.name
        before, pinned = member.profile, member.pinned
        if self._pool.find(member.name) is member:
            await self._pool.unload(member)
        member.profile, member.measured = profile, False
        known = self._known_as(member)
        known.profile, known.pinned = profile, pinned
        try:
            await self._pool.load(known)
        except BenchtopError:
            # Restore the old profile so that later requests do not retry the settings that failed.
            known.profile = before
            raise
        return known.name

    @contextmanager
    def _looking_up(self, *names: str) -> Iterator[None]:
        """Nobody knows them yet, but they will be there in a moment."""
        self._opening += names
        try:
            yield
        finally:
            for name in names:
                self._opening.remove(name)

    async def prepare(self, name: str, options: LoadSettings = LoadSettings()) -> str:
        """As `load`, of a model that a request may name, and with options that a request may give. Raises RequestError
        for more threads than there are, and as `load` does."""
        for field, count in (("threads", options.threads), ("batch_threads", options.batch_threads)):
            if count is not None and count > (most := describe_machine().threads):
                raise RequestError(f"`{field}` is {count}, and this machine has {most}; send fewer.", field)
        return await self._load_as(await self._wanted(name), options)

    async def unload(self, name: str) -> None:
        """Stop serving a model and free it; its requests fail. One that was named at the start may be loaded again, as
        its settings say: another context that was wished for goes with the model that had it.

        Raises ModelNotFound.
        """
        member = self._known(name)
        # At once: it may be loaded again before its thread has ended.
        member.profile, member.measured = member.own, member.measured and member.profile == member.own
        await self._pool.unload(member)

    def pin(self, name: str, on: bool = True) -> None:
        """Keep a model loaded, whatever else wants its memory, or no longer. Raises ModelNotFound."""
        self._pool.pin(self._known(name), on)

    async def close(self) -> None:
        """Unload everything, and stop the downloads where they are. Nothing is loaded afterwards."""
        self._closed = True
        if "_pool" in vars(self):
            await self._pool.close()
            await asyncio.to_thread(self._prefixes.close, self.settings.server.drain_timeout)
        self._shelf.close()
        self.lanes.close()
        await asyncio.to_thread(self.store.close)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the models that are known."""
        return tuple(path for member in self._pool for path in self._factory.files(member))

    @property
    def first_choice(self) -> str | None:
        """What a request without a model gets, as far as that does not depend on the request."""
        members = tuple(self._pool)
        named = next((member.name for member in members if member.named), None)
        return named or (members[0].name if len(members) == 1 else None)

    @property
    def default_model(self) -> str | None:
        """The model that was loaded first, of those that are."""
        return next((host.name for host in self._pool.hosts), None)

    @property
    def active_engine(self) -> str | None:
        """The engine of the default model."""
        return next((host.engine for host in self._pool.hosts), None)

    def served_models(self) -> tuple[str, ...]:
        return tuple(host.name for host in self._pool.hosts)

    def standing_in(self, kind: ModelKind) -> str:
        """The model that answers requests of a kind that name none: the one that the user named first, of those that
        can answer them, or the only one there is.

        Raises RequestError, which names what there is; ModelNotFound where none of them can.
        """
        members = tuple(self._pool)
        able = [member for member in members if member.kind is kind]
        if members and not able:
            raise ModelNotFound(
                "", f"No model that is served can {ability_of(kind).wish}; served are: {self._names()}."
            )
        chosen = next((member for member in able if member.named), able[0] if len(able) == 1 else None)
        if chosen is None:
            there = f"name one of {self._names()}" if members else "none is served yet, so name one"
            raise RequestError(f"The field `model` is missing; {there}.", "model")
        return chosen.name

    def spec(self, model: str) -> ModelSpec:
        """What is true of a loaded model. Raises ModelNotFound, ModelNotReady."""
        return self._loaded(model).spec

    def route(self, request: Generation) -> Generation:
        """A request for `auto` with the model that shall answer it, and why; any other as it is.

        Raises RequestError when no model is large enough, ModelNotFound when nothing is routed here.
        """
        settings = self.settings.route
        if clean_name(request.model) != AUTO or not settings.auto or self._pool.find(AUTO):
            return request
        routes = [
            Route(member.name, member.artifact.size, member.host.context if member.host else None)
            for member in self._pool
            if member.named and member.kind is ModelKind.CHAT
        ]
        if not routes:
            raise ModelNotFound(AUTO, f"There is no model that `auto` may stand for; served are: {self._names()}.")
        decision = choose(request, routes, settings.strategy, self._turns)
        self._turns += 1
        return replace(request, model=decision.model, route=decision.reason)

    async def lease(self, model: str) -> Lease:
        """Hold a model, which is loaded first where it is not.

        Raises ModelNotFound, QueueFull, and as `load` does.
        """
        return await self._pool.lease(await self._wanted(model))

    async def submit(
        self,
        request: Request,
        *,
        called: Callable[[str], None] = _keep_silent,
        meets: Callable[[Traits], None] = _heed_nothing,
    ) -> Stream:
        """Queue a request; its model is loaded first where it is not. `called` is told at once which id the
        request goes by, since no two that are under way share one; `meets` what its model is like.

        `core.tasks` folds the events of transcriptions and embeddings. Raises ModelNotFound, RequestError, QueueFull,
        and as `load` does; Cancelled where `cancel` was told its id meanwhile. Audio that cannot be decoded fails the
        stream before it is admitted.
        """
        request = replace(request, request_id=self._arrivals.unique(request.request_id, self._has_arrived))
        called(request.request_id)
        with self._arrivals.bring(request) as arrival:
            lease = await self.lease(request.model)
            arrival.state = RequestState.QUEUED
            self._witness.asked(request.model)
            try:
                meets(lease.traits)
            except BaseException:
                lease.release()
                raise
            return await lease.submit(request)

    async def count_tokens(self, request: Generation) -> int:
        """Tokens of the request's prompt. Raises as `submit` does."""
        lease = await self.lease(request.model)
        try:
            return await lease.count(request)
        finally:
            lease.release()

    def cancel(self, request_id: str) -> bool:
        """False when no such request waits, for its model or for a slot, or runs."""
        return self._arrivals.cancel(request_id) or any(host.cancel(request_id) for host in self._pool.hosts)

    def _has_arrived(self, request_id: str) -> bool:
        return any(host.knows(request_id) for host in self._pool.hosts)

    def measure(
        self, model: str, *, prompt_tokens: int = 256, new_tokens: int = 64, rounds: int = 3, streams: int = 1
    ) -> AsyncIterator[BenchSample]:
        """Measure a loaded model as it serves.

        Raises ModelNotFound, ModelNotReady, and RequestError for more tokens than the context holds.
        """
        host = self._loaded(model)
        if prompt_tokens + new_tokens > host.spec.context:
            raise RequestError(
                f"{prompt_tokens} prompt tokens and {new_tokens} new ones do not fit the context of "
                f"{host.spec.context}; measure with fewer, or load the model with a larger --ctx-size."
            )
        plan = Plan(prompt_tokens, new_tokens, rounds, streams)
        return run_plan(model, plan, host.vocabulary, self.submit)

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

    def plugins(self) -> tuple[Plugin, ...]:
        """Those whose engines and formats are in use."""
        return (*self._engines.plugins, *known_formats().plugins)

    def find_broken_plugins(self) -> tuple[PluginBroken, ...]:
        """Each is tried now, if it was not before."""
        return (*self._engines.find_broken(), *known_formats().find_broken())

    def verdicts(self) -> list[ProbeVerdict]:
        """What trial runs have found on this machine. Touches the disk."""
        return self._prober.verdicts()

    def library(self) -> tuple[LibraryEntry, ...]:
        """Models on this machine. Touches the disk."""
        return self.store.library({member.artifact.path for member in self._pool if member.loaded})

    async def loadable(self) -> tuple[Loadable, ...]:
        """The models that a request would load, beside those that are known already."""
        if not self.settings.pool.on_demand:
            return ()
        entries = await self._shelf.entries()
        members = tuple(self._pool)
        known = {member.name for member in members}
        configured = tuple(Loadable(name, 0) for name in self.settings.models if name not in known)
        names = {*known, *self.settings.models}
        files = {member.artifact.path for member in members}
        return *configured, *loadable(entries, names, files, self.settings.model.engine)

    def snapshot(self) -> Snapshot:
        memory = psutil.virtual_memory()
        in_memory, on_disk = self._prefixes.stats()
        return Snapshot(
            taken=time.time(),
            uptime=time.monotonic() - self._started,
            models=self._pool.models(),
            machine=MachineSnapshot(
                cpu_percent=psutil.cpu_percent(),
                memory_total=memory.total,
                memory_available=memory.available,
                process_resident=self._process.memory_info().rss,
            ),
            pool=self._pool.snapshot(),
            opening=tuple(self._opening),
            arriving=self._arrivals.rows(),
            prefixes_in_memory=in_memory,
            prefixes_on_disk=on_disk,
        )

    def _artifact(self, name: str) -> Artifact:
        """Of a loaded model by the name it is served by, or of any other by what stands for it."""
        # Measuring may be all that a workbench is made for, without an event loop and so without a pool.
        member = self._pool.find(name) if "_pool" in vars(self) else None
        return member.artifact if member else self._artifact_of(name)

    def _artifact_of(self, name: str) -> Artifact:
        """What the user of this machine names."""
        return self.store.resolve(self.store.read_own(self.settings.source(name)))

    def _known(self, name: str) -> Member:
        member = self._find(name)
        if member is None:
            raise ModelNotFound(
                name, f"The model {shorten_name(name)} is not being served here; these are: {self._names()}."
            )
        return member

    def _names(self) -> str:
        return ", ".join(member.name for member in self._pool) or "none yet"

    def _loaded(self, name: str) -> Host:
        member = self._known(name)
        if member.host is None:
            raise ModelNotReady(name, f"The model {name} is not loaded now; a request for it loads it.")
        return member.host

    async def _wanted(self, text: str) -> Member:
        """A model that a request names: one that is known, one of the settings, or one of this machine's. Never a
        path: clients, who may be strangers, have no business in the file system, and servers at addresses of their
        choice even less. Their words are parsed as theirs, so that they cannot stand for either."""
        member = self._find(text)
        if member is not None or not self.settings.pool.on_demand:
            return member or self._known(text)
        if (configured := self._configured(text)) is not None:
            return self._known_as(await self._resolved(configured))
        name = self.store.read_asked(text)
        try:
            return self._known_as(await self._member(name))
        except NotDownloaded as error:
            coming = await self.lanes.disk.run(self.store.coming, error.repositories)
            said = str(error) if coming is None else f"{name} is being downloaded, {coming:.0%} of it are here."
            raise ModelNotFound(str(name), f"{said} Served here: {self._names()}.") from error
        except ModelNotFound:
            return self._known(text)

    def _find(self, text: str) -> Member | None:
        """A model that is known by a name as it came from outside. Raises ModelNotFound for what can be no name."""
        name = clean_name(text)
        return self._pool.find(name) or next((each for each in self._pool if are_same(each.name, name)), None)

    def _configured(self, text: str) -> str | None:
        """The name of the settings that is meant, if any."""
        name = clean_name(text)
        return next((each for each in self.settings.models if are_same(each, name)), None)

    async def _resolved(self, text: str) -> Member:
        """What the user of this machine names: a model of the settings by its name there, or any other. Not added to
        the pool yet."""
        configured = self._configured(text)
        profile = self.settings.models[configured] if configured is not None else Profile()
        source = profile.source or configured or text
        with attach_paths(Path(source)):
            name = await self.lanes.disk.run(self.store.read_own, source)
            return await self._member(name, profile, configured)

    async def _member(self, name: Name, profile: Profile = Profile(), called: str | None = None) -> Member:
        """A model that lies here, known as `called` where that is given. Not added to the pool yet."""
        artifact = await self.lanes.disk.run(self.store.resolve, name)
        if called is not None:
            artifact = replace(artifact, name=called)
        with attach_paths(artifact.path):
            kind = await self.lanes.disk.run(self.store.expect_kind, artifact)
        return self._pool.find(artifact.name) or Member(artifact, profile, kept=False, kind=kind)

    def _known_as(self, found: Member, *, kept: bool = False) -> Member:
        return self._pool.add(found.artifact, found.own, kept=kept, kind=found.kind)
