"""Every palette by one door: those that come with the workbench, the user's own, and those of plugins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from core.errors import BenchtopError, ConfigError
from core.plugins import Plugin, PluginBroken, Registry, list_plugins
from core.settings.check import build_error, convert_values
from core.settings.file import read_toml
from themes import PALETTES, Palette
from themes.palette import find_faults

GROUP: Final = "benchtop.themes"


class Palettes:
    """The user's own are the files `NAME.toml` of `folder`. One that cannot be used is told and left out."""

    def __init__(self, folder: Path | None = None, find: Callable[[str], Iterable[Plugin]] = list_plugins) -> None:
        self._folder = folder
        self._registry: Registry[Palette] = Registry(GROUP, PALETTES, lambda made: made, _check, find)
        self._wrong: dict[str, ConfigError] = {}

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        return self._registry.plugins

    def find_broken(self) -> tuple[BenchtopError, ...]:
        """What is wrong with those left out; each is tried. Touches the disk and imports plugins."""
        _ = [*self]
        return (*self._wrong.values(), *self._registry.broken)

    def __iter__(self) -> Iterator[Palette]:
        """All of them, the user's own after the built-in ones. Touches the disk and imports plugins."""
        for name in PALETTES:
            yield self._registry.get(name)
        own = {path.stem: path for path in self._own_files()}
        self._wrong.clear()
        for path in own.values():
            try:
                yield self._read(path)
            except ConfigError as error:
                self._wrong[path.stem] = error
        for plugin in self._registry.plugins:
            if plugin.name in own:
                continue
            try:
                yield self._registry.get(plugin.name)
            except PluginBroken:
                continue

    def get(self, name: str) -> Palette:
        """Looks for no further one than is needed. Raises KeyError where there is none of that name, ConfigError and
        PluginBroken for one that cannot be used."""
        if name not in PALETTES and (path := next((each for each in self._own_files() if each.stem == name), None)):
            return self._read(path)
        return self._registry.get(name)

    def copy_palette(self, name: str, called: str) -> Path:
        """Write the colours of a palette into a file of the user's own, to be changed there; the file. Raises as `get`,
        and ConfigError where it cannot be written or the name is taken."""
        palette = replace(self.get(name), name=called)
        if faults := find_faults(palette):
            raise ConfigError(f"A theme cannot be called so: {faults[0]}.")
        if self._folder is None or called in PALETTES:
            raise ConfigError(f"There is a theme {called} already; call it otherwise.")
        path = self._folder / f"{called}.toml"
        lines = [f"# Made of {name}.", *(f"{key} = {json.dumps(value)}" for key, value in _list_colours(palette))]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write("\n".join((*lines, "")))
        except FileExistsError:
            raise ConfigError(f"{path} is there already; call it otherwise.") from None
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}.") from error
        return path

    def _own_files(self) -> list[Path]:
        try:
            return sorted(self._folder.glob("*.toml")) if self._folder is not None else []
        except OSError:
            return []

    def _read(self, path: Path) -> Palette:
        """Raises ConfigError, which names the file, the key and what is expected there."""
        if path.stem in PALETTES:
            raise ConfigError(f"The theme file {path} has the name of a built-in theme; call it otherwise.")
        source = f"the theme file {path}"
        values = dict(read_toml(path, "theme file"))
        if "name" in values:
            raise build_error(source, "name is unknown; a theme goes by its file.")
        palette = convert_values({**values, "name": path.stem}, Palette, source)
        if faults := find_faults(palette):
            raise build_error(source, f"{faults[0]}.")
        return palette


def _list_colours(palette: Palette) -> Iterator[tuple[str, object]]:
    return ((key, getattr(palette, key)) for key in Palette.__struct_fields__ if key != "name")


def _check(made: object) -> str | None:
    if not isinstance(made, Palette):
        return "it is no themes.Palette"
    return next(iter(find_faults(made)), None)
