"""The engines by name; the module of an engine is imported when the engine is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from core.contract.abilities import KeepsStates, TellsDevices
from core.contract.artifact import Artifact, FormatName
from core.contract.engine import Availability, Available, Engine, Unavailable
from core.errors import ArtifactError, EngineUnavailable
from core.plugins import Plugin, PluginBroken, Registry, list_missing_members, list_plugins
from core.telemetry.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINES: Final[Mapping[str, str]] = {
    "mlx": "core.engines.mlx.engine:MlxEngine",
    "llamacpp": "core.engines.llamacpp.engine:LlamaCppEngine",
    "mnn": "core.engines.mnn.engine:MnnEngine",
    "remote": "core.engines.remote.engine:RemoteEngine",
    "onnxruntime": "core.engines.onnx.engine:OnnxEngine",
    "onnxruntime-genai": "core.engines.onnx.genai:GenaiEngine",
    "executorch": "core.engines.executorch.engine:ExecutorchEngine",
    "whisper": "core.engines.whisper.engine:WhisperEngine",
    "echo": "core.engines.echo:EchoEngine",
}
"""Name to `module:Class`."""
GROUP: Final = "benchtop.engines"
log = get_logger(__name__)


class EngineReport(Struct, frozen=True):
    """What `tui doctor` and `/v1/engines` tell of an engine."""

    name: str
    platform: str
    priority: int
    available: bool
    version: str | None = None
    reason: str | None = None
    """Why it is not available."""
    mend: str | None = None
    """The command that makes it so."""
    keeps_prefixes: bool = False
    """Whether prefixes of its models are kept in memory and on disk, when they leave the KV cache."""


class Engines:
    """The engines of one workbench; each is made once, when first asked for."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        """`names`: name to `module:Class`, for these alone; None for the built-in ones and those of plugins."""
        find = list_plugins if names is None else _no_plugins
        built_in = ENGINES if names is None else names
        self._registry: Registry[Engine] = Registry(GROUP, built_in, lambda made: made(), _find_fault, find)

    def __iter__(self) -> Iterator[Engine]:
        """In order of preference."""
        return iter(self._in_order)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        return self._registry.plugins

    def find_broken(self) -> tuple[PluginBroken, ...]:
        """The plugins that cannot be used; tries each."""
        _ = self._in_order
        return self._registry.broken

    def get(self, name: str) -> Engine:
        """Raises EngineUnavailable for a name that is no engine's, or that of a plugin which cannot be used."""
        try:
            return self._registry.get(name)
        except PluginBroken as error:
            raise EngineUnavailable(str(error)) from error
        except KeyError:
            known = ", ".join(sorted(self._registry.names))
            raise EngineUnavailable(f"There is no engine called {name!r}; there are {known}.") from None

    def locate(self, name: str) -> str:
        """`module:Class` of an engine, for a child process to load."""
        return self._registry.locate(name)

    def choose(self, artifact: Artifact, forced: str | None = None) -> Engine:
        """The engine for an artifact: the one forced, else the first by priority that runs here and accepts it."""
        if forced is not None:
            return self._forced(artifact, forced)
        refusals = []
        for engine in self:
            if artifact.format not in engine.formats:
                continue
            availability = engine.availability()
            if isinstance(availability, Available):
                return engine
            refusals.append(_refusal(engine, availability))
        if refusals:
            raise EngineUnavailable(" ".join(refusals))
        raise ArtifactError(artifact.name, f"No engine here runs {artifact.format} models like {artifact.name}.")

    def takers(self) -> dict[FormatName, tuple[str, ...]]:
        """The engines that run here, by the formats they take; both in order of preference."""
        able = [engine for engine in self if isinstance(engine.availability(), Available)]
        found: dict[FormatName, tuple[str, ...]] = {}
        for engine in able:
            for format_ in engine.formats:
                found[format_] = (*found.get(format_, ()), engine.name)
        return found

    def reports(self) -> tuple[EngineReport, ...]:
        return tuple(_report(engine) for engine in self)

    def list_devices(self) -> dict[str, tuple[str, ...]]:
        """What the engines that run here compute on, by their names; those are left out whose libraries do not tell.
        Imports their libraries: to be called on a thread."""
        return {
            engine.name: devices
            for engine in self
            if isinstance(engine, TellsDevices)
            and isinstance(engine.availability(), Available)
            and (devices := _list_devices(engine))
        }

    @cached_property
    def _in_order(self) -> list[Engine]:
        return sorted(self._registry, key=lambda engine: engine.priority)

    def _forced(self, artifact: Artifact, name: str) -> Engine:
        engine = self.get(name)
        availability = engine.availability()
        if isinstance(availability, Unavailable):
            raise EngineUnavailable(_refusal(engine, availability))
        if artifact.format not in engine.formats:
            raise ArtifactError(
                artifact.name,
                f"The engine {name} does not run {artifact.format} models, which {artifact.name} is; "
                "leave out --engine.",
            )
        return engine


def _list_devices(engine: TellsDevices) -> tuple[str, ...]:
    try:
        return tuple(engine.list_devices())
    except (ImportError, OSError, RuntimeError) as error:
        # Loading a model says what is wrong with the library.
        log.debug("an engine does not tell what it computes on", why=str(error))
        return ()


def _refusal(engine: Engine, why: Unavailable) -> str:
    mend = f" Mend it with: {why.mend}" if why.mend else ""
    return f"The engine {engine.name} is not available: {why.reason}{mend}"


def _report(engine: Engine) -> EngineReport:
    keeps = isinstance(engine, KeepsStates)
    match engine.availability():
        case Available(version=version):
            return EngineReport(
                engine.name, engine.platform, engine.priority, True, version=version, keeps_prefixes=keeps
            )
        case Unavailable(reason=reason, mend=mend):
            return EngineReport(
                engine.name, engine.platform, engine.priority, False, reason=reason, mend=mend, keeps_prefixes=keeps
            )


def _no_plugins(_: str) -> tuple[Plugin, ...]:
    return ()


def _find_fault(made: Engine) -> str | None:
    """Why a plugin's engine cannot be used; None where it can. An error that is raised here counts as a reason."""
    if missing := list_missing_members(made, Engine):
        return f"it is no engine, for it has no {', '.join(missing)}"
    if not isinstance(made.priority, int) or not all(isinstance(each, str) for each in made.formats):
        return "its priority is no whole number, or its formats are not all texts"
    return None if isinstance(made.availability(), Availability) else "its availability is no Availability"
