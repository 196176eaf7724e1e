"""`tui config`: the settings in force, as TOML or JSON, with where each of them comes from."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Final, get_type_hints

from msgspec import Struct

from core.contract.declared import Declared, list_fields
from core.settings.load import LoadedSettings, read_settings
from core.settings.merge import Key, Origin, OriginKind
from core.settings.model import ModelSettings
from core.settings.schema import Settings, find_folders
from tui.cli.arguments import Arguments
from tui.cli.commands import WORKBENCH, build_parser
from tui.cli.output import write_json, write_text
from tui.cli.toml_text import write_path, write_value

if TYPE_CHECKING:
    from rich.text import Text

HIDDEN: Final = "***"
WIDTH_COLUMNS: Final = 80


class SettingEntry(Struct, frozen=True):
    """A setting in force."""

    key: str
    value: object
    """Of types that TOML has; None is not set."""
    origin: Origin
    secret: bool = False

    def shown(self, *, secrets: bool) -> object:
        return HIDDEN if self.secret and self.value and not secrets else self.value


class SettingsSection(Struct, frozen=True):
    """A table of settings; `path` is empty for none."""

    path: Key
    entries: tuple[SettingEntry, ...]


def run_config(given: Arguments) -> int:
    """Print the settings on stdout. Raises ConfigError."""
    loaded = read_settings(given.flags(), config_file=given.config)
    (show_json if given.json else print_settings)(loaded, secrets=given.show_secrets)
    return 0


def print_path(given: Arguments) -> int:
    """Print where the config file is, or would be."""
    write_text(str(given.config or find_folders().config / "config.toml"))
    return 0


def print_options(_: Arguments) -> int:
    """Print the settings that are options on stdout, as two tables of Markdown: those of `[model]`, and all others."""
    write_text("\n".join(format_option_tables()))
    return 0


def format_option_tables() -> list[str]:
    """The lines of the tables."""
    model = [_option_row(each, each.name) for each in list_fields(ModelSettings)]
    others = [
        _option_row(each, f"{section}.{each.name}")
        for section, kind in get_type_hints(Settings).items()
        if section not in ("model", "models")
        for each in list_fields(kind)
        if each.help
    ]
    return [*_table("in `[model]` and `[models.NAME]`", model), "", *_table("in the config file", others)]


def _table(place: str, rows: list[str]) -> list[str]:
    return [f"| option | {place} | values | |", "| --- | --- | --- | --- |", *rows]


def _option_row(field: Declared, key: str) -> str:
    names = f"`{field.option}`" if field.kind is bool else f"`{field.option} {field.placeholder}`"
    names += f", `{field.also}`" if field.also else ""
    return f"| {names} | `{key}` | {_values_in_words(field)} | {field.option_help} |"


def _values_in_words(field: Declared) -> str:
    return ", ".join([_range_in_words(field), *field.words])


def _range_in_words(field: Declared) -> str:
    if field.choices:
        return ", ".join(field.choices)
    if field.kind is bool:
        return "true, false"
    if field.kind in (int, float):
        match field.least, field.most:
            case None, None:
                return "a number"
            case None, most:
                return f"up to {most:,}"
            case least, None:
                return f"{least:,} or more"
            case least, most:
                return f"{least:,} to {most:,}"
    return "a list" if field.kind is tuple else "text"


def print_settings(loaded: LoadedSettings, *, secrets: bool) -> None:
    """Print TOML on stdout, coloured on a terminal."""
    from tui.cli.console import Paper

    console = Paper()
    for line in format_lines(loaded, secrets=secrets):
        console.print(line, soft_wrap=True)


def show_json(loaded: LoadedSettings, *, secrets: bool) -> None:
    """Print one JSON object on stdout: file and settings; each with value, origin, and where that is."""
    tree: dict[str, object] = {"models": {}}
    for section in list_sections(loaded):
        table = tree
        for name in section.path:
            table = table.setdefault(name, {})  # type: ignore[assignment]  # all on the way to a section are tables
        for entry in section.entries:
            where = _where(entry, section.path)
            shown = {"value": entry.shown(secrets=secrets), "origin": entry.origin.kind.name.lower(), "where": where}
            table[entry.key] = shown
    file = {"path": str(loaded.file), "present": loaded.present}
    write_json({"file": file, "settings": tree})


def list_sections(loaded: LoadedSettings) -> list[SettingsSection]:
    """Every section with every key; of models, those keys that say something."""
    found: list[SettingsSection] = []
    for name, kind in get_type_hints(Settings).items():
        if name == "models":
            for model, profile in loaded.settings.models.items():
                found += _of_model((name, model), profile, loaded)
        else:
            found.append(_section((name,), getattr(loaded.settings, name), kind, loaded))
    return found


def _of_model(path: Key, table: Struct, loaded: LoadedSettings) -> list[SettingsSection]:
    """A model's table, and the tables in it. None leaves a key to other settings: there is nothing to show."""
    whole = _section(path, table, type(table), loaded)
    inner = [(key, value) for key in table.__struct_fields__ if isinstance(value := getattr(table, key), Struct)]
    plain = tuple(entry for entry in whole.entries if entry.value is not None and entry.key not in dict(inner))
    below = [section for key, value in inner for section in _of_model((*path, key), value, loaded) if section.entries]
    return [SettingsSection(path, plain), *below]


def _section(path: Key, table: Struct, kind: type[Struct], loaded: LoadedSettings) -> SettingsSection:
    return SettingsSection(
        path,
        tuple(
            SettingEntry(each.name, _plain(getattr(table, each.name)), loaded.origin((*path, each.name)), each.secret)
            for each in list_fields(kind)
        ),
    )


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def format_lines(loaded: LoadedSettings, *, secrets: bool) -> Iterable[Text]:
    from rich.text import Text

    there = "" if loaded.present else " (not there)"
    yield Text(f"# config file: {loaded.file}{there}", "dim")
    for section in list_sections(loaded):
        yield Text()
        yield Text(f"[{write_path(section.path)}]", "bold")
        yield from _aligned(section, secrets=secrets)


def _aligned(section: SettingsSection, *, secrets: bool) -> Iterable[Text]:
    """The origins stand in one column where there is room for them, else on a line of their own."""
    from rich.text import Text

    keys = [_key(entry, secrets=secrets) for entry in section.entries]
    width = max(map(len, keys), default=0)
    pairs = zip(keys, section.entries, strict=True)
    written = [_assignment(key.ljust(width), entry, secrets=secrets) for key, entry in pairs]
    origins = [_origin(entry, section.path) for entry in section.entries]
    room = [
        len(line) for line, origin in zip(written, origins, strict=True) if len(line) + len(origin) + 2 <= WIDTH_COLUMNS
    ]
    column = min(max(room, default=0), WIDTH_COLUMNS - 2 - max(map(len, origins), default=0))
    for entry, line, origin in zip(section.entries, written, origins, strict=True):
        style = "dim" if line.startswith("#") else ""
        told = Text(origin, "dim" if entry.origin.kind is OriginKind.DEFAULT else "cyan")
        if len(line) + len(origin) + 2 > WIDTH_COLUMNS:
            yield told
            yield Text(line, style)
        else:
            yield Text.assemble((line.ljust(column), style), "  ", told)


def _key(entry: SettingEntry, *, secrets: bool) -> str:
    """What is not set stands as a comment, and so does what is hidden: read back, it would be taken for the key."""
    comment = entry.value is None or entry.shown(secrets=secrets) is not entry.value
    return f"# {entry.key}" if comment else entry.key


def _assignment(key: str, entry: SettingEntry, *, secrets: bool) -> str:
    return f"{key} = {write_value(entry.shown(secrets=secrets))}" if entry.value is not None else f"{key} ="


def _origin(entry: SettingEntry, path: Key) -> str:
    match entry.origin.kind:
        case OriginKind.DEFAULT:
            return "# default" if entry.value is not None else "# not set"
        case OriginKind.FILE:
            return "# config file"
        case _:
            return f"# {_where(entry, path)}"


def _where(entry: SettingEntry, path: Key) -> str:
    """The option, the variable or the file; empty for a default."""
    if entry.origin.kind is not OriginKind.FLAG:
        return entry.origin.name
    return map_options().get(".".join((*path, entry.key)), "the command line")


@cache
def map_options() -> dict[str, str]:
    """The option of the command line for each setting, by `section.key`."""
    return build_parser(WORKBENCH).options()
