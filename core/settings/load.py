"""Settings as they are read: defaults < config file < environment < flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.contract.declared import list_fields
from core.contract.options import is_template_path
from core.devices.endpoints import read_endpoint
from core.errors import ConfigError
from core.hosts import parse_host
from core.settings.check import build_error, convert_values
from core.settings.environment import list_given_variables
from core.settings.file import SCHEMA, TEMPLATE, is_there, read_config
from core.settings.keys import check_key
from core.settings.merge import DEFAULT, Key, Origin, OriginKind, SettingsSource, Tree, drop_overruled, merge_sources
from core.settings.model import ModelSettings
from core.settings.profile import Profile
from core.settings.schema import ServerSettings, Settings, find_folders, read_host_name, read_origin
from core.settings.telemetry import TelemetrySettings, parse_collector
from core.sizes import parse_size, split_sizes
from core.wrong_values import list_structs

SHARED = {**{key: ("model", key) for key in ModelSettings.__struct_fields__}, "ttl": ("pool", "model_ttl")}
"""Keys of `[models.NAME]`, and the settings that hold for models which say nothing of their own."""


class LoadedSettings(Struct, frozen=True):
    """Settings, and how they came about."""

    settings: Settings
    origins: Mapping[Key, Origin]
    """Of every value that a source gave; all others are defaults."""
    file: Path
    """The config file that was read, or that would be if it were there."""
    present: bool

    def origin(self, key: Key) -> Origin:
        if key in self.origins:
            return self.origins[key]
        # A table of the user's own keys comes from where the first of them does.
        return next((origin for each, origin in self.origins.items() if each[: len(key)] == key), DEFAULT)


def load_settings(
    flags: Mapping[str, Mapping[str, object]] | None = None,
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of `read_settings`, without their origins."""
    return read_settings(flags, config_file=config_file, environment=environment).settings


def read_settings(
    flags: Mapping[str, Mapping[str, object]] | None = None,
    *,
    config_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """Merge the sources. `flags` maps section to key to value; None values were not given.

    A `config_file` that was named must exist; the default one may be missing. Raises ConfigError.
    """
    path = config_file or find_folders().config / "config.toml"
    present = config_file is not None or is_there(path)
    values = _from_file(path) if present else {}
    sources = (
        SettingsSource(OriginKind.FILE, values, str(path)),
        _from_environment(os.environ if environment is None else environment),
        SettingsSource(OriginKind.FLAG, flags or {}),
    )
    merged = drop_overruled(merge_sources(sources), SHARED)
    order = [*(flags or {}).get("models", {}), *_models(merged.values)]
    settings = check_settings(merged.values, "the options", order=order)
    return LoadedSettings(settings, merged.origins, path, present)


def _from_file(path: Path) -> Tree:
    content = read_config(path, Settings)
    check_settings(content, f"the config file {path}")
    return _place(content, Settings, path.parent.absolute())


def _place(table: Tree, kind: type[Struct], folder: Path) -> Tree:
    """A checked table, with the paths in it as seen from `folder`."""
    local = {each.name for each in list_fields(kind) if each.local}
    inner = {name: next(list_structs(hint), None) for name, hint in get_type_hints(kind).items()}
    placed: dict[str, object] = {}
    for key, value in table.items():
        below = inner[key]
        # Models may be named or have an address; what begins with a dot is neither.
        if key == TEMPLATE:
            placed[key] = _place_paths(value, folder) if is_template_path(str(value)) else value
        elif key == SCHEMA:
            placed[key] = _place_paths(value, folder) if str(value).endswith(".json") else value
        elif key in local or (key in ("source", "draft") and str(value).startswith(".")):
            placed[key] = _place_paths(value, folder)
        elif key == "models" and isinstance(value, Mapping):
            placed[key] = {name: _place(each, Profile, folder) for name, each in value.items()}
        elif below is not None and isinstance(value, Mapping):
            placed[key] = _place(value, below, folder)
        else:
            placed[key] = value
    return placed


def _place_paths(value: object, folder: Path) -> object:
    """A path, a list of paths, or the table of an adapter."""
    match value:
        case str():
            return value if value.startswith("~") else str(folder / value)
        case Mapping():
            return {**value, "path": _place_paths(value["path"], folder)}
        case list():
            return [_place_paths(each, folder) for each in value]
    return value


def _from_environment(environment: Mapping[str, str]) -> SettingsSource:
    """`BENCHTOP_<SECTION>_<KEY>`, lists by commas; `BENCHTOP_HOME` is read by `find_folders`."""
    values: dict[str, dict[str, object]] = {}
    names: dict[Key, str] = {}
    for variable in list_given_variables(environment, Settings):
        section, key = variable.key
        try:
            typed = check_settings({section: {key: variable.value}}, "the environment", strict=False)
        except ConfigError as error:
            raise ConfigError(f"{error} Correct {variable.name}, or unset it.") from error
        values.setdefault(section, {})[key] = msgspec.to_builtins(typed)[section][key]
        names[variable.key] = variable.name
    return SettingsSource(OriginKind.ENVIRONMENT, values, names=names)


def _models(values: Tree) -> Mapping[str, object]:
    """The tables of models, of values that were not checked yet."""
    models = values.get("models", {})
    return models if isinstance(models, Mapping) else {}


def check_settings(values: Tree, source: str, *, strict: bool = True, order: list[str] | None = None) -> Settings:
    """The values as settings; `order` is that of the models. Raises ConfigError: the sentence names `source` and the
    key."""
    models = _models(values)
    if not all(name.strip() for name in models):
        raise build_error(source, "models has an entry without a name; give it one.")
    # One by one, since errors inside a mapping do not tell the key.
    profiles = {
        name: convert_values(models[name], Profile, source, strict=strict, prefix=f"models.{name}")
        for name in order or models
    }
    # `models` that is no table stays, so that converting refuses it.
    rest = {**values, "models": {}} if isinstance(values.get("models"), Mapping) else values
    settings = replace(convert_values(rest, Settings, source, strict=strict), models=profiles)
    settings = replace(
        settings,
        server=_checked(settings.server, source),
        telemetry=_check_telemetry(settings.telemetry, source),
    )
    try:
        key = "pool.memory_limit"
        split_sizes("100%" if settings.pool.memory_limit is None else settings.pool.memory_limit)
        key = "cache.disk_size"
        parse_size("100%" if settings.cache.disk_size is None else settings.cache.disk_size, 1 << 60)
    except ValueError as error:
        raise build_error(source, f"{key}: {error}") from error
    _check_rpc(settings, source)
    return settings


def _check_rpc(settings: Settings, source: str) -> None:
    """Raises ConfigError for what is no address of an RPC server."""
    tables = [("model", settings.model), *((f"models.{name}", profile) for name, profile in settings.models.items())]
    for table, wish in tables:
        for endpoint in wish.rpc or ():
            try:
                read_endpoint(endpoint)
            except ValueError as error:
                raise build_error(source, f"{table}.rpc: {error}") from error


def _checked(server: ServerSettings, source: str) -> ServerSettings:
    """The settings with the host in the form that is bound. Raises ConfigError for a bad host, key or origin."""
    try:
        host = parse_host(server.host)
    except ValueError as error:
        raise build_error(source, f"server.host: {error}.") from error
    try:
        keys = tuple(map(check_key, server.api_keys))
    except ValueError as error:
        raise build_error(source, f"server.api_keys: {error}.") from None
    for name in server.allowed_hosts:
        if not read_host_name(name):
            said = f"{name!r} is no name of a host; write whole names, such as llm.example.org, without patterns."
            raise build_error(source, f"server.allowed_hosts: {said}")
    for origin in server.cors_origins:
        if (meant := read_origin(origin)) != origin:
            said = f"{origin!r} is no origin as browsers send it; write {meant}: a scheme and a host, without a path."
            raise build_error(source, f"server.cors_origins: {said}")
    return replace(server, host=host, api_keys=keys)


def _check_telemetry(telemetry: TelemetrySettings, source: str) -> TelemetrySettings:
    """The settings with the address as it is asked. Raises ConfigError for one that is none, and for a bad key."""
    key = None if telemetry.key is None else telemetry.key.strip()
    if key is not None and not (key and key.isascii() and key.isprintable()):
        said = "it is empty; leave it out for none" if not key else "it holds characters that no header can carry"
        raise build_error(source, f"telemetry.key: {said}.")
    try:
        url = None if telemetry.url is None else parse_collector(telemetry.url.strip())
    except ValueError as error:
        raise build_error(source, f"telemetry.url: {error}.") from error
    return replace(telemetry, url=url, key=key)
