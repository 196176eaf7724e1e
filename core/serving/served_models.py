"""The models of a workbench: those that it serves, and the way from a name to one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.models import ModelSpec
from core.contract.options import LoadSettings
from core.errors import BenchtopError, ModelNotFound, ModelNotReady, NotDownloaded, RequestError, attach_paths
from core.hardware import describe_machine
from core.lanes import WorkLanes
from core.models.library.on_demand import Loadable, Shelf, list_loadable
from core.models.library.scan import LibraryEntry
from core.models.store import Store
from core.names import Name, are_same, clean_name, drop_latest, list_near_names, shorten_name
from core.serving.factory import ModelFactory
from core.serving.host import Host
from core.serving.pool.member import Lease, Member
from core.serving.pool.pool import Pool
from core.settings.profile import Profile
from core.settings.schema import Settings
from core.snapshots import ModelSnapshot, PoolSnapshot


class ServedModels:
    """Belongs to one event loop, save where a method says that it touches the disk: those block, on any thread."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        factory: ModelFactory,
        lanes: WorkLanes,
        resident: Callable[[], int],
        opened: Callable[[], None],
    ) -> None:
        """`resident`: bytes that this process takes now for models; `opened` is told before the first model is
        known."""
        self._opened = opened
        self._settings = settings
        self.store = store
        """The models that one could have."""
        self._factory = factory
        self._lanes = lanes
        self._resident = resident
        self._shelf = Shelf(store.library, lanes.disk)
        self._opening: list[str] = []
        self._expected: tuple[str, ...] = ()
        self._closed = False

    @cached_property
    def _pool(self) -> Pool:
        """Made on the event loop, when the first model is asked for. Raises ModelNotReady after `close`."""
        if self._closed:
            raise ModelNotReady("", "The workbench is closed; start it again.")
        self._opened()
        pool = self._settings.pool
        return Pool(
            self._factory,
            limit=self._factory.limits.host,
            ttl=pool.model_ttl,
            resident=self._resident,
            max_queue=self._settings.queue.max_queue,
            lane=self._lanes.loading,
        )

    # What a front end does to models.

    def expect(self, names: Sequence[str]) -> None:
        """`serve` is called with these names or will be: until it knows them, requests and /health are told to wait."""
        self._expected = tuple(names)

    async def serve(self, names: Sequence[str]) -> None:
        """Know these models, to be loaded when a request names them. Raises as `load` does for a name that is none."""
        self.expect(names)
        try:
            for name in names:
                self._add(await self._resolve(name), kept=True)
        finally:
            self._expected = ()

    async def load(
        self,
        name: str,
        options: LoadSettings = LoadSettings(),
        draft: str | None = None,
        engine: str | None = None,
    ) -> str:
        """Load a model and return the name it is served by; returns at once when it is loaded already, unless `options`
        or `draft`, what guesses ahead for it, or `engine` say something else than it was loaded with: then it is loaded
        anew, and its requests fail.

        Raises ModelNotFound, ArtifactError, LoadFailed, EngineUnavailable or EngineFailed.
        """
        with self._looking_up(name):
            member = self._find(name) or await self._resolve(name)
        return await self._load_with(member, options, draft, engine)

    def skip_measuring(self) -> None:
        """Let what was measured so far decide on the model that is being loaded; somebody waits for it."""
        self._factory.skip_measuring()

    async def _load_with(
        self, member: Member, options: LoadSettings, draft: str | None = None, engine: str | None = None
    ) -> str:
        profile = member.profile.overlaid_with(options)
        profile = replace(profile, draft=draft or profile.draft, engine=engine or profile.engine)
        if profile == member.profile:
            await self._pool.load(self._add(member))
            return member.name
        before, pinned = member.profile, member.pinned
        if self._pool.find(member.name) is member:
            await self._pool.unload(member)
        member.profile, member.measured = profile, False
        known = self._add(member)
        known.profile, known.pinned = profile, pinned
        try:
            await self._pool.load(known)
        except BenchtopError:
            # Restore the old profile so that later requests do not retry the settings that failed.
            known.profile = before
            raise
        return known.name

    async def prepare(self, name: str, options: LoadSettings = LoadSettings()) -> str:
        """As `load`, of a model that a request may name, and with options that a request may give. Raises RequestError
        for more threads than there are, and as `load` does."""
        for field, count in (("threads", options.threads), ("batch_threads", options.batch_threads)):
            if count is not None and count > (most := describe_machine().threads):
                raise RequestError(f"`{field}` is {count}, and this machine has {most}; send fewer.", field)
        return await self._load_with(await self._find_asked(name), options)

    async def lease(self, name: str) -> Lease:
        """Hold the model that a request names; it is loaded first where it is not.

        Raises ModelNotFound, QueueFull, and as `load` does.
        """
        return await self._pool.lease(await self._find_asked(name))

    def keep(self, name: str, seconds: float) -> None:
        """Let a model that is loaded be idle for so long before it is unloaded, whatever the settings say; infinite
        for ever, zero for not at all. It holds until the model is unloaded. Raises ModelNotFound."""
        self._pool.keep(self._known(name), seconds)

    async def let_go(self, name: str) -> None:
        """Unload a model, now or when its requests have ended; one that is pinned stays. Raises ModelNotFound."""
        member = self._known(name)
        self._pool.keep(member, 0.0)
        await self._pool.let_go(member)

    async def unload(self, name: str) -> None:
        """Stop serving a model and free it; its requests fail. A model that was named at the start may be loaded again,
        as its settings say: options that it was loaded with beside them are forgotten.

        Raises ModelNotFound.
        """
        member = self._known(name)
        # At once: it may be loaded again before its thread has ended.
        member.profile, member.measured = member.own, member.measured and member.profile == member.own
        await self._pool.unload(member)

    def keep_profile(self, name: str) -> None:
        """Load a model from now on as it is loaded now, also after it was unloaded: the settings say so now. Raises
        ModelNotFound."""
        member = self._known(name)
        member.own = member.profile
        member.kept = member.named = True

    def pin(self, name: str, on: bool = True) -> None:
        """Keep a model loaded, whatever else wants its memory, or no longer. Raises ModelNotFound."""
        self._pool.pin(self._known(name), on)

    async def close(self) -> None:
        """Unload everything. Nothing is loaded afterwards."""
        self._closed = True
        if "_pool" in vars(self):
            await self._pool.close()
        self._shelf.close()

    # What is true of them.

    @property
    def members(self) -> tuple[Member, ...]:
        """All that are known, in the order in which they became known."""
        return tuple(self._pool)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Of the models that are loaded, loading or failed."""
        return tuple(self._pool.hosts)

    def find_served(self, asked: str) -> str | None:
        """The name under which a model is known that a request calls so; None where it is none of these."""
        if "_pool" not in vars(self):
            return None
        try:
            member = self._find(asked)
        except ModelNotFound:
            return None
        return member.name if member is not None else None

    def loaded_names(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.hosts)

    @property
    def default(self) -> str | None:
        """The model that was loaded first, of those that are."""
        return next(iter(self.loaded_names()), None)

    @property
    def active_engine(self) -> str | None:
        """The engine of the default model."""
        return next((host.engine for host in self.hosts), None)

    @property
    def first_choice(self) -> str | None:
        """What a request without a model gets, as far as that does not depend on the request."""
        members = self.members
        named = next((member.name for member in members if member.named), None)
        return named or (members[0].name if len(members) == 1 else None)

    @property
    def paths(self) -> tuple[Path, ...]:
        """What errors about the known models may name."""
        return tuple(path for member in self.members for path in self._factory.files(member))

    @property
    def names_in_words(self) -> str:
        """The known models, to end a sentence with."""
        return ", ".join(member.name for member in self.members) or "none yet"

    def spec(self, name: str) -> ModelSpec:
        """What is true of a loaded model. Raises ModelNotFound, ModelNotReady."""
        return self.host(name).spec

    def host(self, name: str) -> Host:
        """Of a loaded model. Raises ModelNotFound, ModelNotReady."""
        member = self._known(name)
        if member.host is None:
            raise ModelNotReady(name, f"The model {name} is not loaded now; a request for it loads it.")
        return member.host

    def artifact(self, name: str) -> Artifact:
        """Of a known model by the name it is served by, or of any other by what the user of this machine calls it.
        Touches the disk. Raises as `Store.resolve` does."""
        # Measuring may be all that a workbench is made for, without an event loop and so without a pool.
        member = self._pool.find(name) if "_pool" in vars(self) else None
        return member.artifact if member else self.store.resolve(self.store.read_own(self._settings.source(name)))

    def find_configured(self, name: str) -> Artifact | None:
        """Of a model of the settings by its name there; None where there is none of it here. Touches the disk."""
        if name not in self._settings.models:
            return None
        try:
            found = self.store.resolve(self.store.read_own(self._settings.source(name)))
        except BenchtopError:
            return None
        return replace(found, name=name)

    def library(self) -> tuple[LibraryEntry, ...]:
        """Models on this machine. Touches the disk."""
        return self.store.library({member.artifact.path for member in self._pool if member.loaded})

    async def loadable(self) -> tuple[Loadable, ...]:
        """The models that a request would load, beside those that are known already."""
        if not self._settings.pool.on_demand:
            return ()
        entries = await self._shelf.entries()
        members = self.members
        known = {member.name for member in members}
        configured = tuple(Loadable(name, 0, None, None) for name in self._settings.models if name not in known)
        names = {*known, *self._settings.models}
        files = {member.artifact.path for member in members}
        return *configured, *list_loadable(entries, names, files, self._settings.model.engine)

    def snapshots(self) -> tuple[ModelSnapshot, ...]:
        """Of the models that are loaded, loading or failed."""
        return self._pool.models()

    def pool_snapshot(self) -> PoolSnapshot:
        return self._pool.snapshot()

    @property
    def opening(self) -> tuple[str, ...]:
        """Names that are being looked up or will be: no model is known by them yet, or not by all of them."""
        return *self._expected, *self._opening

    # From a name to a model.

    @contextmanager
    def _looking_up(self, name: str) -> Iterator[None]:
        self._opening.append(name)
        try:
            yield
        finally:
            self._opening.remove(name)

    def _known(self, name: str) -> Member:
        member = self._find(name)
        if member is None:
            raise ModelNotFound(
                name, f"The model {shorten_name(name)} is not being served here; these are: {self.names_in_words}."
            )
        return member

    def _find(self, text: str) -> Member | None:
        """A model that is known by a name as it came from outside. Raises ModelNotFound for what can be no name."""
        name = clean_name(text)
        for form in (name, drop_latest(name)):
            found = self._pool.find(form) or next((each for each in self._pool if are_same(each.name, form)), None)
            if found is not None:
                return found
        return None

    def expect_names(self) -> None:
        """Raises ModelNotReady while models are still looked up that are to be served, as after a start, or the first
        is: the one that a request means may be among them."""
        if self._expected or (self._opening and not self.members):
            raise ModelNotReady("", "The models of this server are still being looked up; ask again in a moment.")

    async def _find_asked(self, text: str) -> Member:
        """The model that a request names. Raises as `examine`."""
        return self._add(await self.examine(text))

    async def examine(self, text: str) -> Member:
        """The model that a request for a name would get: a known model, one of the settings, or one of this machine's.
        It is not loaded for this, and not known afterwards where it was not. Raises as `lease` does for a name that is
        none.

        Never a path or an address: clients may be strangers, who have no business in the file system or with servers
        of their choice. Their words are parsed as theirs, so that they cannot stand for either.
        """
        member = self._find(text)
        if member is not None:
            return member
        self.expect_names()
        if not self._settings.pool.on_demand:
            return self._known(text)
        text = drop_latest(clean_name(text))
        if (configured := self._configured(text)) is not None:
            return await self._resolve(configured)
        name = self.store.read_asked(text)
        try:
            return await self._member(name)
        except NotDownloaded as error:
            coming = await self._lanes.disk.run(self.store.coming, error.repositories)
            said = str(error) if coming is None else f"{name} is being downloaded, {coming:.0%} of it are here."
            raise ModelNotFound(str(name), f"{said} Served here: {self.names_in_words}.") from error
        except ModelNotFound as error:
            raise await self._describe_absence(text) from error

    async def _describe_absence(self, text: str) -> ModelNotFound:
        """That there is no model of this name, and which may be meant."""
        loadable = await self.loadable()
        names = [*(member.name for member in self.members), *(each.name for each in loadable)]
        if near := list_near_names(text, names):
            told = f"did you mean {' or '.join(near)}?"
        else:
            told = f"served here: {self.names_in_words}"
            told += f"; GET /v1/models lists {len(names)} that can be asked." if loadable else "."
        return ModelNotFound(text, f"There is no model {shorten_name(text)} on this machine; {told}")

    def _configured(self, text: str) -> str | None:
        """The name of the settings that is meant, if any."""
        name = clean_name(text)
        return next((each for each in self._settings.models if are_same(each, name)), None)

    async def _resolve(self, text: str) -> Member:
        """What the user of this machine names: a model of the settings by its name there, or any other. Not added to
        the pool yet."""
        configured = self._configured(text)
        profile = self._settings.models[configured] if configured is not None else Profile()
        source = profile.source or configured or text
        with attach_paths(Path(source)):
            name = await self._lanes.disk.run(self.store.read_own, source)
            return await self._member(name, profile, configured)

    async def _member(self, name: Name, profile: Profile = Profile(), called: str | None = None) -> Member:
        """A model that lies here, known as `called` where that is given. Not added to the pool yet."""
        artifact = await self._lanes.disk.run(self.store.resolve, name)
        if called is not None:
            artifact = replace(artifact, name=called)
        with attach_paths(artifact.path):
            kind = await self._lanes.disk.run(self.store.expect_kind, artifact, profile)
        return self._pool.find(artifact.name) or Member(artifact, profile, kept=False, kind=kind)

    def _add(self, found: Member, *, kept: bool = False) -> Member:
        return self._pool.add(found.artifact, found.own, kept=kept, kind=found.kind)
