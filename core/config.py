"""Settings: defaults < config file < environment < flags. An unknown key is refused by name, wherever it stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, get_type_hints

import msgspec
from msgspec import Meta, Struct

from core.engines.base import KvType
from core.errors import ConfigError

APP = "benchtop"
ENVIRONMENT_PREFIX = "BENCHTOP_"

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Slots = Annotated[int, Meta(ge=1, le=200)]
Context = Annotated[int, Meta(ge=16, le=16_777_216)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


Sections = Mapping[str, Mapping[str, object]]


class LogLevel(Enum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    """Address to bind; any other than loopback makes a key when none is given."""
    port: Port = 8080
    """Zero takes a free port."""
    api_key: str | None = None
    """What clients must send as `Authorization: Bearer` or `x-api-key`."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may call the server; none by default."""
    max_body: Annotated[int, Meta(ge=1024)] = 16 * 1024 * 1024
    """Bytes a request body may have."""


class QueueSettings(Struct, frozen=True, forbid_unknown_fields=True):
    max_queue: Annotated[int, Meta(ge=0, le=1_000_000)] = 32
    """Requests that may wait for a slot; zero means any number, without a timeout."""
    queue_timeout: Seconds = 60.0
    """Seconds a request may wait for a slot."""


class ModelSettings(Struct, frozen=True, forbid_unknown_fields=True):
    engine: str | None = None
    """Force an engine by name; None lets the workbench choose."""
    ctx_size: Context | None = None
    """Tokens one request may hold; None takes what the model was trained for, as far as memory allows."""
    slots: Slots | None = None
    """Requests that run at once; None goes by memory."""
    threads: Count | None = None
    """Decode threads; None takes what was measured fastest here."""
    batch: Annotated[int, Meta(ge=32, le=16_384)] = 512
    """Tokens a forward pass takes at most."""
    kv_type: KvType = KvType.F16
    """Element type of the KV cache."""
    remote_api_key: str | None = None
    """What a server at a URL wants as `Authorization: Bearer`, where the model is one."""


class ProbeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = True
    """Try an engine in a child process before it first runs a kind of model here."""
    timeout: Seconds = 120.0
    """Seconds a child may take before it counts as hung."""


class BenchSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = True
    """Measure the engines that can run a model and take the fastest; off, they are tried in order of priority."""
    budget: Seconds = 15.0
    """Seconds of measuring that choosing an engine may take."""
    fresh: bool = False
    """Measure again although earlier results are kept."""


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    level: LogLevel = LogLevel.INFO


class UiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    theme: str = "graphite"
    """A palette's name, from the command palette's list of themes."""


class Folders(Struct, frozen=True):
    """Where things are kept; see `folders`."""

    config: Path
    cache: Path
    """What can be made again: probe verdicts, benchmark results."""
    state: Path
    """Logs, histories."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    server: ServerSettings = ServerSettings()
    queue: QueueSettings = QueueSettings()
    model: ModelSettings = ModelSettings()
    probe: ProbeSettings = ProbeSettings()
    bench: BenchSettings = BenchSettings()
    log: LogSettings = LogSettings()
    ui: UiSettings = UiSettings()


def folders() -> Folders:
    """The platform's usual folders for this user; `BENCHTOP_HOME` puts all three below one folder."""
    if home := os.environ.get(f"{ENVIRONMENT_PREFIX}HOME"):
        root = Path(home).expanduser()
        return Folders(config=root / "config", cache=root / "cache", state=root / "state")
    from platformdirs import PlatformDirs

    dirs = PlatformDirs(APP, appauthor=False)
    return Folders(config=dirs.user_config_path, cache=dirs.user_cache_path, state=dirs.user_state_path)


def load_settings(
    flags: Mapping[str, Mapping[str, object]] | None = None,
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Merge the sources. `flags` maps section to key to value; None values were not given.

    A `config_file` that was named must exist; the default one may be missing. Raises ConfigError.
    """
    path = config_file or folders().config / "config.toml"
    sources: list[Sections] = []
    if config_file is not None or path.is_file():
        sources.append(_from_file(path))
    sources.append(_from_environment(os.environ if environment is None else environment))
    sources.append(
        {
            section: {key: value for key, value in values.items() if value is not None}
            for section, values in (flags or {}).items()
        }
    )
    merged: dict[str, dict[str, object]] = {}
    for source in sources:
        for section, values in source.items():
            merged.setdefault(section, {}).update(values)
    return _convert(merged, "the options")


def _from_file(path: Path) -> Sections:
    try:
        content: dict[str, dict[str, object]] = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"The config file {path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config file {path} is not TOML: {error}.") from error
    _convert(content, f"the config file {path}")
    return content


def _from_environment(environment: Mapping[str, str]) -> Sections:
    """`BENCHTOP_<SECTION>_<KEY>`; `BENCHTOP_HOME` is read by `folders`."""
    names = {
        f"{ENVIRONMENT_PREFIX}{section}_{key}".upper(): (section, key)
        for section, kind in get_type_hints(Settings).items()
        for key in kind.__struct_fields__
    }
    given: dict[str, dict[str, object]] = {}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == f"{ENVIRONMENT_PREFIX}HOME":
            continue
        if variable not in names:
            raise ConfigError(f"The environment variable {variable} names no setting; unset it or correct its name.")
        section, key = names[variable]
        given.setdefault(section, {})[key] = value.split(",") if key == "cors_origins" else value
    typed = msgspec.to_builtins(_convert(given, "the environment", strict=False))
    return {section: {key: typed[section][key] for key in keys} for section, keys in given.items()}


def _convert(values: Sections, source: str, *, strict: bool = True) -> Settings:
    try:
        return msgspec.convert(values, Settings, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(f"A setting in {source} is wrong: {_sentence(error)}") from error


def _sentence(error: Exception) -> str:
    """msgspec says 'Expected `int` - at `$.server.port`'; turn the path into the key's name."""
    what, _, where = str(error).partition(" - at `$.")
    return f"{where.rstrip('`')}: {what}." if where else f"{what}."
