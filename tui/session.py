"""What all screens share: the workbench, the model in use, the server. Knows no widgets."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.options import KvType, LoadSettings
from core.errors import BenchtopError, ModelNotReady, ServerError
from core.settings.model import ModelSettings
from core.settings.schema import ServerSettings, Settings
from core.snapshots import ModelKind, ModelSnapshot, Snapshot

if TYPE_CHECKING:
    from api.server import HttpServer
    from core.models.downloads.status import Resumed
    from core.models.library.scan import LibraryEntry
    from core.workbench import Workbench


DRAIN_SECONDS = 10.0
"""Seconds that requests in flight may go on when the server is stopped by hand."""
QUIT_DRAIN_SECONDS = 0.5
"""The same when the app is left: nobody is there to wait."""


class LoadWish(Struct, frozen=True):
    """How a model is to be loaded; None as the settings say."""

    context: int | None = None
    kv_type: KvType | None = None
    more: ModelSettings = ModelSettings()
    """What else was said of it."""

    @property
    def given(self) -> bool:
        return self != LoadWish()

    @property
    def options(self) -> LoadSettings:
        said = LoadSettings(ctx_size=self.context, kv_type=self.kv_type)
        return LoadSettings().overlaid_with(self.more).overlaid_with(said)

    def __str__(self) -> str:
        """Words that go on "load it"."""
        if self.context is None or self.kv_type is None:
            return ""
        return f" with a context of {self.context:,} tokens in {self.kv_type.value}"


def build_workbench(settings: Settings) -> Workbench:
    """The real workbench; imported only now, so that the first frame need not wait for it."""
    from core.workbench import Workbench

    return Workbench(settings)


class Desk:
    """Holds the one workbench of an app. Everything here runs on the app's event loop."""

    def __init__(self, settings: Settings, model: str, make: Callable[[Settings], Workbench] = build_workbench) -> None:
        self.settings = settings
        self.model = model
        """The model that chat and bench use; while nothing is loaded, the one asked for."""
        self.server: HttpServer | None = None
        self.problem: BenchtopError | None = None
        """Why `model` cannot be used."""
        self.unloaded = False
        """That is because the user wanted it so, which is no failure."""
        self._ending: HttpServer | None = None
        """One that is being stopped, and lets its answers go on for a while."""
        self._made_key: str | None = None
        """The API key that was made for this run: clients know it, so it stays."""
        self._asked: dict[str, str] = {}
        self._make = make
        self._workbench: Workbench | None = None
        self._ready = asyncio.Event()
        self._made = asyncio.Event()
        self._closed = False

    @property
    def started(self) -> bool:
        """Whether the workbench exists already; asking for it makes it."""
        return self._workbench is not None

    @property
    def workbench(self) -> Workbench:
        if self._workbench is None:
            self._workbench = self._make(self.settings)
            # The serve screen can be asked what requests said.
            self._workbench.recent.keeps_content = True
            self._made.set()
        return self._workbench

    @property
    def ready(self) -> bool:
        return self._ready.is_set() and self.problem is None

    async def load(self, name: str, wish: LoadWish = LoadWish()) -> str:
        """Load `name` and make it the model in use; returns the name it is served by. Raises BenchtopError."""
        # psutil, structlog and their like take a while to import; on a thread they do not hold up the screen.
        await asyncio.to_thread(importlib.import_module, "core.workbench")
        if self._closed:
            raise ModelNotReady(name, "The workbench is closed; start it again.")
        first = not self.workbench.models.loaded_names()
        if first:
            self._begin(name)
        try:
            served = await self.workbench.models.load(name, wish.options, wish.more.draft, wish.more.engine)
        except BaseException as error:
            if first:
                why = error if isinstance(error, BenchtopError) else ModelNotReady(name, f"Loading {name} was stopped.")
                self._end(why)
            raise
        self._asked[served] = name
        self.use(served)
        return served

    async def add_to_library(self, path: Path, config_file: Path) -> bool:
        """Look for models in a folder, or list a file, from now on, and write so into the config file; whether it was
        not named there before. Raises ConfigError."""
        from core.settings.library import add_library_path, extend_library

        added = await asyncio.to_thread(add_library_path, config_file, path)
        library = await asyncio.to_thread(extend_library, self.settings.library, path)
        self.settings = replace(self.settings, library=library)
        self.workbench.models.store.use_library(library)
        return added

    def asked_as(self, served: str) -> str:
        """What was written for a model that was loaded here: a path, for one, which its name no longer tells."""
        return self._asked.get(served, served)

    async def settle(self) -> list[BenchtopError]:
        """Know all models of the settings, and load those that are never to be unloaded; what hinders some of them."""
        problems: list[BenchtopError] = []

        async def attempt(step: Awaitable[object]) -> None:
            try:
                await step
            except BenchtopError as error:
                problems.append(error)

        await asyncio.to_thread(importlib.import_module, "core.workbench")
        for name in self.settings.models:
            await attempt(self.workbench.models.serve((name,)))
        # What chat wants comes first.
        await self._ready.wait()
        for name, profile in self.settings.models.items():
            if profile.pin:
                await attempt(self.workbench.models.load(name))
        return problems

    def _begin(self, name: str) -> None:
        self.model = name
        self.problem = None
        self.unloaded = False
        self._ready.clear()

    def _end(self, problem: BenchtopError | None, *, unloaded: bool = False) -> None:
        self.problem = problem
        self.unloaded = unloaded
        self._ready.set()

    def use(self, model: str) -> None:
        """Let chat and bench use a loaded model."""
        self.model = model
        self._end(None)

    async def unload(self, name: str) -> None:
        """Unload; where it was in use, the workbench's next default takes its place. Raises BenchtopError."""
        await self.workbench.models.unload(name)
        if name != self.model:
            return
        if (other := self.workbench.models.default) is not None:
            self.use(other)
        else:
            told = f"The model {name} was unloaded; load one on the models screen (F1)."
            self._end(ModelNotReady(name, told), unloaded=True)

    def configured(self, library: Iterable[LibraryEntry]) -> tuple[LibraryEntry, ...]:
        """The models of the settings by their names there, each as the file in the library that it is made of. Touches
        the disk."""
        files = {entry.path: entry for entry in library}
        return tuple(self._configured(name, files) for name in self.settings.models)

    def _configured(self, name: str, files: Mapping[Path, LibraryEntry]) -> LibraryEntry:
        from core.models.library.scan import LibraryEntry, Location

        source = self.settings.source(name)
        try:
            artifact = self.workbench.models.store.resolve(self.workbench.models.store.read_own(source))
        except BenchtopError as error:
            return LibraryEntry(name, Path(), None, 0, False, str(error))
        found = files.get(artifact.path)
        if found is None:
            problem = _damage(artifact)
            format_ = None if problem else artifact.format
            return LibraryEntry(name, artifact.path, format_, artifact.size, False, problem)
        # The file may be loaded under another name.
        return replace(found, name=name, loaded=False, location=Location.HERE)

    async def go_on(self) -> Resumed:
        """With the downloads that the end of the program broke off, once the model in use is there or cannot be had.

        Raises DownloadError.
        """
        await self._ready.wait()
        downloads = self.workbench.downloads
        return await asyncio.to_thread(downloads.resume_pending)

    def downloading(self) -> int:
        """Downloads under way that end with this program."""
        return self._workbench.downloads.under_way if self._workbench is not None else 0

    def answering(self, model: str | None = None) -> int:
        """Requests that clients of the server wait for, of one model or of all."""
        if self.live_server is None or (snapshot := self.snapshot()) is None:
            return 0
        return sum(model is None or request.model == model for request in snapshot.requests)

    async def until_started(self) -> None:
        """Wait until the workbench exists."""
        await self._made.wait()

    async def until_ready(self) -> str:
        """Wait for a load under way; the model in use. Raises BenchtopError when there is none."""
        await self._ready.wait()
        if self.problem is not None:
            raise self.problem
        return self.model

    def snapshot(self) -> Snapshot | None:
        """What goes on now; None before the workbench exists."""
        return self._workbench.snapshot() if self._workbench is not None else None

    async def start_server(self) -> HttpServer:
        """Serve this same workbench over HTTP. Raises ServerError, ConfigError."""
        return self.live_server or await self._serve(self.settings)

    async def _serve(self, settings: Settings) -> HttpServer:
        # The web stack takes long to import; on a thread it does not hold up the screen.
        module = await asyncio.to_thread(importlib.import_module, "api.server")
        server: HttpServer = module.HttpServer(self.workbench, settings, made_key=self._made_key)
        await server.start()
        if self._closed:
            await server.stop(drain=0)
        self.server = server
        if server.key_generated:
            self._made_key = server.api_key
        return server

    async def change_server(self, wanted: ServerSettings) -> None:
        """Serve by other settings from now on. A server that runs takes no more connections, what it answers may go on
        for as long as its settings say, and then the new address is bound. Where they are those in force, nothing is
        done.

        Raises ServerError and ConfigError where that cannot be; then all is as it was before.
        """
        before, old = self.settings, self.live_server
        if old is None or wanted == before.server:
            self.settings = replace(before, server=wanted)
            return
        # Of a server that has stopped it is forgotten.
        held = old.port
        # Nobody's answer is cut off for an address that is not to be had, or keys that cannot be read.
        await asyncio.to_thread(_try_server, wanted, held)
        there = replace(before.server, port=held)
        await self.stop_server(before.server.drain_timeout)
        self.settings = replace(before, server=wanted)
        # A free port that was found stays the one that clients know.
        bound = replace(wanted, port=held) if wanted.port == before.server.port else wanted
        try:
            await self._serve(replace(before, server=bound))
        except BenchtopError as error:
            self.settings = before
            try:
                await self._serve(replace(before, server=there))
            except BenchtopError as worse:
                raise ServerError(f"{error} The old address cannot be had back: {worse}") from error
            raise

    @property
    def ending(self) -> bool:
        """Whether a server is being stopped."""
        return self._ending is not None

    @property
    def live_server(self) -> HttpServer | None:
        """The server while it listens; one that has failed counts as none."""
        return self.server if self.server is not None and self.server.running else None

    async def stop_server(self, drain: float = DRAIN_SECONDS) -> None:
        """Take no more connections, let requests in flight finish for `drain` seconds."""
        server, self.server = self.server, None
        if server is None:
            return
        self._ending = server
        try:
            await server.stop(drain)
        finally:
            self._ending = None

    async def hurry_server(self) -> None:
        """A server that is being stopped waits for its answers no longer."""
        if self._ending is not None:
            await self._ending.stop(drain=0)

    async def close(self) -> None:
        """Stop the server and free the models. Once is enough; again does nothing."""
        if self._closed:
            return
        self._closed = True
        await self.stop_server(drain=QUIT_DRAIN_SECONDS)
        if self._workbench is not None:
            await self._workbench.close()


def _try_server(wanted: ServerSettings, held: int) -> None:
    """Raises ServerError where the address cannot be bound, as far as that can be told while the port `held` is in use,
    and ConfigError for a file of keys that is wrong."""
    from api.transport.listening import open_sockets
    from core.settings.keys import list_keys

    list_keys(wanted)
    for each in open_sockets(wanted.host, 0 if wanted.port == held else wanted.port):
        each.close()


def _damage(artifact: Artifact) -> str | None:
    """Of a file that the library has not looked into; folders are looked into as they are loaded. Touches the disk."""
    from core.models.formats.file_index import Inspector, see_file

    if not artifact.path.is_file():
        return None
    try:
        return Inspector().look(artifact.path, see_file(artifact.path.stat())).problem
    except OSError as error:
        return error.strerror


TASKS: Final[Mapping[ModelKind, str]] = {
    ModelKind.TRANSCRIPTION: "This model hears speech: ctrl+p, Write down speech.",
    ModelKind.EMBEDDING: "This model makes vectors of texts: ctrl+p, Compare two texts.",
}
"""Where what does not chat is asked in the app."""


def list_talk_notes(model: ModelSnapshot | None) -> tuple[str, ...]:
    """What whoever talks with a model should know: that it does something else, that it has no chat template, or none
    of use. Loading has told all else that a model's notes say."""
    if model is None:
        return ()
    notes = tuple(note for note in model.notes if "chat template" in note)
    return (TASKS[model.kind], *notes) if model.kind in TASKS else notes


def find_model(snapshot: Snapshot | None, name: str) -> ModelSnapshot | None:
    """The model called `name`, or while a path is loading, the only one there is."""
    models = snapshot.models if snapshot is not None else ()
    for model in models:
        if model.name == name:
            return model
    return models[0] if len(models) == 1 else None
