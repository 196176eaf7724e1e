"""One door to the models: those on this machine, those of the Hub, whether they fit, and the downloads.

Everything here touches the disk or the network and may block: an event loop calls it on a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from core.contract.artifact import Artifact, FormatName
from core.contract.engine import Engine
from core.contract.options import KvType, LoadOptions, LoadSettings, Pooling
from core.contract.placement import HOST, DeviceTaken, Placement
from core.decoding.speculate import MTP, NOTHING, PROMPT_LOOKUP
from core.devices.device import Device
from core.devices.listing import list_devices
from core.errors import ArtifactError, BenchtopError, UsageError
from core.hardware import describe_machine
from core.models.catalog import Catalog, Task, load_builtin_catalog
from core.models.downloads.manager import Downloads
from core.models.fit.adapters import measure_adapters
from core.models.fit.estimate import Judged, find_largest_context, judge_fit
from core.models.fit.mtp import choose_mtp
from core.models.fit.parts import Setup
from core.models.fit.placing import Companions, estimate_parts
from core.models.fit.plan import Correction, DeviceShare, list_limited, list_reachable, plan_placement
from core.models.fit.rates import DeviceRates
from core.models.fit.records import DeviceFit, FitRecord, FitRecords, describe_traits
from core.models.fit.setup import choose_setup, find_kv_room, plan_load
from core.models.fit.speed import count_read_bytes, estimate_speed
from core.models.fit.wish import EVERY_LAYERS, PlacementWish, check_wish, read_wish
from core.models.formats.header import Header
from core.models.formats.onnx import has_sentence_modules
from core.models.formats.read import read_header
from core.models.formats.registry import load_formats
from core.models.hub.hub import Hub
from core.models.hub.repository import Quant, Repository
from core.models.hub.search import Filters, Page
from core.models.library.delete import check_deletable, delete_model, find_repo
from core.models.library.scan import Library, LibraryEntry, build_user_library
from core.models.library.servers import ask_servers
from core.models.resolve import find_quant, read_asked, read_own, resolve_name
from core.names import AskedName, BuiltIn, Name
from core.settings.profile import Profile
from core.settings.schema import Folders, LibrarySettings, Settings
from core.snapshots import ModelKind
from core.telemetry.log import get_logger

KIND_WORDS = {"rerank": ModelKind.RERANKING, "embed": ModelKind.EMBEDDING}
"""Parts of the names of files, and what their models do where nothing else tells it: a decoder that was trained to
embed may have the header of any other."""
KIND_OF_TASK = {
    Task.EMBEDDING: ModelKind.EMBEDDING,
    Task.RERANK: ModelKind.RERANKING,
    Task.SPEECH: ModelKind.TRANSCRIPTION,
}
"""What the models of a format do that has no others."""
TRIAL_TOKENS = 256
"""Of the context that trial runs decode in, about."""
Settled = Callable[[Engine, Artifact, LoadOptions], LoadOptions]
log = get_logger(__name__)


def keep_options(_: Engine, __: Artifact, options: LoadOptions) -> LoadOptions:
    return options


class EngineSource(Protocol):
    """The engines of a workbench, as far as the models ask for them."""

    def takers(self) -> Mapping[FormatName, tuple[str, ...]]:
        """The engines that run here, by the formats they take; both in order of preference."""
        ...

    def get(self, name: str) -> Engine:
        """Raises EngineUnavailable for a name that is no engine's."""
        ...


class Store:
    """The models of one user. Constructing it is cheap: it touches neither disk nor network."""

    def __init__(self, settings: Settings, where: Folders, engines: EngineSource, options: LoadOptions) -> None:
        self._settings = settings
        self._library = settings.library
        self._where = where
        self._engines = engines
        self._options = options

    @cached_property
    def downloads(self) -> Downloads:
        return Downloads(self._where.state / "downloads", self._settings.downloads)

    @cached_property
    def hub(self) -> Hub:
        return Hub(self._where.cache / "headers")

    @cached_property
    def records(self) -> FitRecords:
        """What loading really took."""
        return FitRecords(self._where.state / "fit.jsonl")

    @cached_property
    def rates(self) -> DeviceRates:
        """How fast the memories of devices turned out to be."""
        return DeviceRates(self._where.state / "bandwidths.jsonl")

    @property
    def shelf(self) -> Library:
        return build_user_library(self._library, self._where, self._takers)

    @property
    def catalog(self) -> Catalog:
        return load_builtin_catalog()

    @property
    def formats(self) -> tuple[FormatName, ...]:
        """The formats that engines here take, the preferred one first: MLX on a Mac with Apple silicon, elsewhere GGUF,
        in which most models exist and which needs the fewest packages."""
        first = ("mlx",) if describe_machine().apple_silicon else ()
        preferred = (*first, "gguf")
        takers = self._takers
        return (*(each for each in preferred if each in takers), *(each for each in takers if each not in preferred))

    def read_own(self, text: str) -> Name:
        """What the user of this machine means by a name, which may be a path or an address. Raises ModelNotFound."""
        return read_own(text)

    def read_asked(self, text: str) -> AskedName:
        """What a client means by a name, which is never a path and never an address. Raises ModelNotFound."""
        return read_asked(text)

    def resolve(self, name: Name) -> Artifact:
        """The model that a name stands for, with every format of it that is here.

        Raises NotDownloaded, ModelNotFound, ArtifactError, and UsageError for a name that two have.
        """
        # Built-in models do not need to know which engines run here, which takes a third of a second.
        return (
            resolve_name(name)
            if isinstance(name, BuiltIn)
            else resolve_name(name, formats=self.formats, shelf=self._names)
        )

    def _names(self) -> dict[str, tuple[Path, ...]]:
        """Of the models in the user's folders. What they are made for is not asked, so no engine is looked at."""
        return build_user_library(self._library, self._where, {}).names()

    def library(self, loaded: Collection[Path] = ()) -> tuple[LibraryEntry, ...]:
        """The models on this machine; `loaded` holds the paths of those that are loaded."""
        return self.shelf.scan(loaded)

    def ask_servers(self) -> tuple[LibraryEntry, ...]:
        """The models of the servers that the settings name; a server that does not answer is an entry with the reason.
        Takes a second at most."""
        return ask_servers(self._library.servers)

    def delete(self, entry: LibraryEntry) -> int:
        """Delete a model's files; returns the bytes that became free, and gives up downloads of which nothing is left.

        Raises as `core.models.library.delete.delete_model` does, and DownloadError.
        """
        freed = delete_model(self.shelf, entry)
        if (repo := find_repo(entry)) is not None:
            self.downloads.forget_deleted(repo.partition("@")[0])
        return freed

    def check_deletable(self, entry: LibraryEntry) -> None:
        """Raises UsageError for a model that is not ours to delete."""
        check_deletable(self.shelf, entry)

    def search(self, words: str, filters: Filters = Filters(), more: str | None = None) -> Page:
        """Raises HubError."""
        return self.hub.search(words, filters, more)

    def repository(self, repo: str, revision: str | None = None) -> Repository:
        """Raises RequestError, HubError."""
        return self.hub.repository(repo, revision)

    def find(self, name: Name) -> Quant:
        """What would be downloaded for a name, in a format that an engine here takes. Asks the Hub.

        Raises ModelNotFound, HubError.
        """
        return find_quant(name, self.hub.repository, self.formats)

    def coming(self, repositories: Collection[str]) -> float | None:
        """The share, from 0 to 1, that is here of a model that is being downloaded; None where none of them is."""
        under_way = [item for item in self.downloads.items() if item.state.active]
        found = next((item for item in under_way if item.name.partition(":")[0] in repositories), None)
        return found.done / max(1, found.total) if found is not None else None

    def header(self, model: Quant | Artifact) -> Header:
        """The header of a model here, or by range requests of a quant at the Hub. Raises ArtifactError, HubError."""
        return read_header(model) if isinstance(model, Artifact) else self.hub.header(model)

    def find_profile(self, name: str) -> Profile:
        """What the settings want of a model that is called so, or that is loaded from there."""
        models = self._settings.models
        if name in models:
            return models[name]
        return next((each for each in models.values() if each.source == name), Profile())

    def judge(
        self,
        header: Header,
        *,
        profile: Profile = Profile(),
        context: int | None = None,
        kv: KvType | None = None,
        memory: tuple[Device, ...] | None = None,
    ) -> Judged:
        """Whether a model fits with the options of the settings, and those of its `profile`, but for the context and KV
        type that are given. What drafts for it is counted.

        `memory` is the devices' as measured before, for a caller that judges many models. Quick: of the disk it reads
        only the records of earlier loads, how large adapters are, and the header of what drafts.
        """
        options = self._options.overlaid_with(profile).overlaid_with(LoadSettings(ctx_size=context, kv_type=kv))
        wished = profile.draft or self._settings.model.draft
        options = replace(options, mtp=choose_mtp(header, options, wished))
        there = _list_usable(header, options, memory or list_devices())
        wish, problem = _find_wish(options, there)
        draft, uncounted = self._find_draft(wished, header)
        correct = self._correction(header)
        companions = Companions(draft, measure_adapters(options))
        setup = _choose_setup(header, options, there, wish, correct, companions)
        fit = judge_fit(header, setup, there, correct, wish, companions)
        if told := tuple(filter(None, (problem, uncounted))):
            fit = replace(fit, notes=(*told, *fit.notes))
        formats = load_formats()
        known = formats.get(header.format)
        conflict = known and formats.ask(known, None, known.explain_kv_conflict, header, options)
        if said := conflict or (options.cache_type.caution if known and known.takes_kv_types else ""):
            fit = replace(fit, notes=(said, *fit.notes))
        speed = estimate_speed(header, fit.plan, self.rates.find(there))
        largest = find_largest_context(header, setup, there, correct, wish, companions)
        return Judged(header, setup, fit, largest, speed, self.records.find(header))

    def _find_draft(self, wish: str | None, header: Header) -> tuple[Header | None, str]:
        """The header of the model that is to draft, where a wish names one; and a sentence where it is not counted."""
        if wish is None or wish in (NOTHING, PROMPT_LOOKUP, MTP):
            return None, ""
        try:
            draft = read_header(self.resolve(self.read_own(self._settings.source(wish))))
        except BenchtopError:
            # Loading says more; clients may read this, and learn of no paths.
            return None, "What is to draft for it is not here, or cannot be read, and is not counted."
        # One that the settings name for all models is named for itself, too.
        return (None if draft == header else draft), ""

    def expect(
        self,
        artifact: Artifact,
        profile: Profile,
        memory: int,
        settled: Settled = keep_options,
        devices: tuple[Device, ...] | None = None,
    ) -> Mapping[str, int]:
        """Bytes of each memory, HOST and the ids of accelerators, that a model here is likely to take once it is
        loaded with the one that drafts for it, of `memory` that it may take at most of main memory; `devices` as they
        will be then, else as they are.

        `settled` tells what trial runs have made of its options: its micro-batch, flash attention and copies count.
        Reads its header; for a file that tells nothing it goes by the size.
        """
        try:
            header = read_header(artifact)
        except ArtifactError:
            return {HOST: artifact.size}
        options = self._options.overlaid_with(profile)
        draft = profile.draft or self._settings.model.draft
        options = replace(options, mtp=choose_mtp(header, options, draft))
        engine = self._find_engine(artifact.format)
        if engine is not None:
            options = settled(self._engines.get(engine), artifact, options)
        there = list_limited(_list_usable(header, options, devices or list_devices()), {HOST: memory})
        # Loading says what is wrong with a wish.
        wish, _ = _find_wish(options, there)
        correct = self._correction(header)
        # Loading says what is wrong with a draft model, too.
        companions = Companions(self._find_draft(draft, header)[0], measure_adapters(options))
        setup = _choose_setup(header, options, there, wish, correct, companions)
        plan = plan_placement(header, setup, there, wish, companions=companions, correct=correct)
        return {share.device.id: _expect_bytes(share) for share in plan.shares}

    def expect_kind(
        self, artifact: Artifact, profile: Profile = Profile(), *, header: Header | None = None
    ) -> ModelKind:
        """What a model here does, as far as the settings, its header or its name tell; quick where its format has no
        headers that do, and where its `header` was read before."""
        known = load_formats().get(artifact.format)
        if known is not None and (kind := KIND_OF_TASK.get(known.task)) is not None:
            return kind
        if known is not None and known.tells_pooling:
            pooling = self._options.overlaid_with(profile).pooling
            if pooling is None:
                pooling = header.pooling if header is not None else _read_pooling(artifact)
            if pooling is not None:
                return ModelKind.RERANKING if pooling is Pooling.RANK else ModelKind.EMBEDDING
        if has_sentence_modules(artifact.path):
            return ModelKind.EMBEDDING
        name = artifact.path.name.lower()
        return next((kind for word, kind in KIND_WORDS.items() if word in name), ModelKind.CHAT)

    def learn(self, engine: str, artifact: Artifact, options: LoadOptions, taken: int) -> None:
        """Record what loading a model with these options, in main memory, really took of it, in bytes, beside what is
        estimated.

        The context and the slots must be given. Never fails: nothing depends on a record.
        """
        if options.placement is not None and not options.placement.on_host:
            # What it takes of each device is learned where that is measured.
            return
        try:
            header = read_header(artifact)
            assert options.ctx_size is not None
            setup = _adjust_setup(header, choose_setup(header, options, 0, describe_machine().features))
            setup = replace(setup, context=options.ctx_size, slots=options.slots or 1)
            self._record(engine, header, setup, (DeviceFit(HOST, estimate_parts(header, setup), taken),))
        except (ArtifactError, OSError) as error:
            log.warning("what a model takes could not be recorded", model=artifact.name, reason=str(error))

    def learn_placed(self, engine: str, artifact: Artifact, options: LoadOptions, taken: Sequence[DeviceTaken]) -> None:
        """As `learn`, of a placement that was seen to hold: what it took of each device."""
        placement = options.placement or Placement()
        try:
            header = read_header(artifact)
            found = list_reachable(list_devices(), options.rpc)
            there = [each for each in found if not each.is_accelerator or each.id in placement.devices]
            wish = replace(read_wish(options), gpu_layers=placement.layers, expert_layers=placement.expert_layers)
            features, companions = describe_machine().features, Companions(adapters=measure_adapters(options))
            plan = plan_load(header, options, there, features, wish, companions=companions)
        except (BenchtopError, OSError) as error:
            log.warning("what a model takes could not be recorded", model=artifact.name, reason=str(error))
            return
        if plan.placement == placement:
            seen = {each.device: each.bytes for each in taken}
            shares = [share for share in plan.shares if share.device.id in seen]
            fits = tuple(DeviceFit(share.device.id, share.parts, seen[share.device.id]) for share in shares)
            self._record(engine, header, plan.setup, fits)

    def _record(self, engine: str, header: Header, setup: Setup, fits: tuple[DeviceFit, ...]) -> None:
        here = describe_machine().fingerprint
        self.records.add(FitRecord(here, engine, describe_traits(header), setup.context, setup.kv, fits))

    def learn_rate(self, artifact: Artifact, options: LoadOptions, tokens: float) -> None:
        """Record how fast the memory is that a model lay in whole, which decoded so many tokens a second there. Never
        fails: nothing depends on a record."""
        known = load_formats().get(artifact.format)
        placement = options.placement or Placement()
        if known is None or not known.divides or len(placement.devices) > 1 or placement.expert_layers:
            return
        try:
            header = read_header(artifact)
            there = list_devices()
            if header.pooling or options.pooling:
                return
            if placement.devices and placement.count_layers(len(header.layers)) <= len(header.layers):
                return
            chosen = [each for each in there if not each.is_accelerator or each.id in placement.devices]
            setup = _adjust_setup(header, choose_setup(header, options, 0, describe_machine().features))
            wish = PlacementWish(gpu_layers=EVERY_LAYERS if placement.devices else 0)
            plan = plan_placement(header, replace(setup, context=TRIAL_TOKENS, slots=1), chosen, wish)
            for share, read in zip(plan.shares, count_read_bytes(header, plan), strict=True):
                if share.layers:
                    self.rates.add(share.device, read, tokens, artifact.name)
        except BenchtopError as error:
            log.warning("how fast a memory is could not be recorded", model=artifact.name, reason=str(error))

    def _correction(self, header: Header) -> Correction:
        return self.records.correction(self._find_engine(header.format) or "", header)

    @cached_property
    def _takers(self) -> Mapping[FormatName, tuple[str, ...]]:
        return self._engines.takers()

    def _find_engine(self, format_: FormatName) -> str | None:
        """The engine that is preferred for a format here: its records correct the estimates. None where none runs."""
        return next(iter(self._takers.get(format_, ())), None)

    def use_library(self, settings: LibrarySettings) -> None:
        """Look for models in other folders from now on."""
        self._library = settings

    def close(self) -> None:
        """Stop the downloads where they are."""
        if "downloads" in vars(self):
            self.downloads.close()
        if "hub" in vars(self):
            self.hub.close()


def _read_pooling(artifact: Artifact) -> Pooling | None:
    try:
        return read_header(artifact).pooling
    except ArtifactError:
        # Loading says what is wrong with it.
        return None


def _list_usable(header: Header, options: LoadOptions, devices: Sequence[Device]) -> tuple[Device, ...]:
    """Those among which its engine can divide a model of this format; others lie in main memory."""
    known = load_formats().get(header.format)
    if known is None or not known.divides:
        return tuple(device for device in devices if not device.is_accelerator)
    return list_reachable(devices, options.rpc)


def _find_wish(options: LoadOptions, devices: Sequence[Device]) -> tuple[PlacementWish, str]:
    """What the options fix; where that cannot be met here nothing is, and a sentence says why."""
    try:
        wish = read_wish(options)
        check_wish(wish, [device for device in devices if device.is_accelerator])
    except UsageError as error:
        return PlacementWish(), str(error)
    return wish, ""


def _expect_bytes(share: DeviceShare) -> int:
    """What others must make room for on a device: what has to stay free there, too, as far as there is so much."""
    return max(share.parts.loaded, min(share.parts.loaded + share.reserve, share.device.free))


def _choose_setup(
    header: Header,
    options: LoadOptions,
    devices: Sequence[Device],
    wish: PlacementWish,
    correct: Correction,
    companions: Companions,
) -> Setup:
    features = describe_machine().features
    room = find_kv_room(header, options, devices, features, wish, companions=companions, correct=correct)
    return _adjust_setup(header, choose_setup(header, options, room, features))


def _adjust_setup(header: Header, setup: Setup) -> Setup:
    """As the engines of its format load it."""
    known = load_formats().get(header.format)
    if known is None or not known.takes_kv_types:
        setup = replace(setup, kv=KvType.F16)
    if known is not None and known.sets_kv_aside:
        return setup
    return replace(setup, micro_batch=None, grows=True, windowed=known is not None and known.keeps_windows)
