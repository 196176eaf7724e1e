"""Engines, formats and themes by name: those that are built in, and those that plugins bring.

A plugin is an entry point that an installed package declares in one of our groups. Their names are read from metadata
when a name is asked for that is not built in, and a plugin is imported when it is used. A plugin that cannot be used is
left out: the log and `tui doctor` say why, and nothing else is hindered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from typing import Any, Generic, TypeVar

from msgspec import Struct

from core.errors import BenchtopError
from core.foreign_text import make_printable
from core.telemetry.log import get_logger

Thing = TypeVar("Thing")
log = get_logger(__name__)


class Plugin(Struct, frozen=True):
    """One entry point of an installed package."""

    group: str
    name: str
    location: str
    """`module:attribute`."""
    package: str
    """Name and version."""


class PluginBroken(BenchtopError):
    """A plugin that cannot be used."""

    def __init__(self, plugin: Plugin, reason: str) -> None:
        said = f"The plugin {plugin.name} ({plugin.group}) of {plugin.package} is left out: {reason}."
        super().__init__(make_printable(said))
        self.plugin = plugin


def list_plugins(group: str) -> Iterator[Plugin]:
    """The entry points of a group, by package; nothing of theirs is imported."""
    from importlib.metadata import entry_points  # tui --help has no use for it

    found = [
        Plugin(group, point.name, point.value, f"{point.dist.name} {point.dist.version}")
        for point in entry_points(group=group)
        if point.dist is not None
    ]
    yield from sorted(found, key=lambda plugin: (plugin.package, plugin.name))


def load_object(location: str) -> Any:
    """What stands at `module:attribute`. Raises ImportError, AttributeError, and what importing the module raises."""
    module, _, attribute = location.partition(":")
    return getattr(import_module(module), attribute)


def list_missing_members(thing: object, protocol: type) -> list[str]:
    """The public members of a Protocol that `thing` lacks."""
    members = {*vars(protocol), *protocol.__annotations__}
    return sorted(name for name in members if not name.startswith("_") and not hasattr(thing, name))


class Registry(Generic[Thing]):
    """Each thing is made once, when it is first asked for."""

    def __init__(
        self,
        group: str,
        built_in: Mapping[str, str],
        make: Callable[[Any], Thing],
        check: Callable[[Thing], str | None],
        find: Callable[[str], Iterable[Plugin]] = list_plugins,
    ) -> None:
        """`built_in`: name to `module:attribute`. `make` turns the object there into the thing. `check` says why a
        plugin's thing cannot be used, as the end of a sentence; None where it can. `find` lists a group's plugins."""
        self._group = group
        self._built_in = built_in
        self._make = make
        self._check = check
        self._find = find
        self._made: dict[str, Thing] = {}
        self._broken: dict[Plugin, PluginBroken] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The built-in ones first. Reads the metadata of installed packages."""
        return (*self._built_in, *self._plugins)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """Those that may be used, as far as is known."""
        return tuple(plugin for plugin in self._plugins.values() if plugin not in self._broken)

    @property
    def broken(self) -> tuple[PluginBroken, ...]:
        """Those that cannot be used, as far as they were asked for."""
        _ = self._plugins  # names that are taken come to light here
        return tuple(self._broken.values())

    def __iter__(self) -> Iterator[Thing]:
        """The built-in ones first; metadata is read, and plugins are imported, when the iteration comes to them."""
        for name in self._built_in:
            yield self.get(name)
        for plugin in self.plugins:
            try:
                yield self.get(plugin.name)
            except PluginBroken:
                continue

    def get(self, name: str) -> Thing:
        """Raises KeyError for a name that nothing has, PluginBroken for that of a plugin which cannot be used."""
        if (built_in := self._built_in.get(name)) is None:
            plugin = self._plugins[name]
            if plugin in self._broken:
                raise self._broken[plugin]
            return self._made.get(name) or self._made.setdefault(name, self._load(plugin))
        if name not in self._made:
            self._made[name] = self._make(load_object(built_in))
        return self._made[name]

    def locate(self, name: str) -> str:
        """`module:attribute`, for another process to load. Raises KeyError."""
        return self._built_in.get(name) or self._plugins[name].location

    def leave_out(self, plugin: Plugin, reason: str) -> PluginBroken:
        """Never use a plugin again in this process. `reason` is the end of a sentence."""
        error = PluginBroken(plugin, reason)
        if plugin not in self._broken:
            self._broken[plugin] = error
            log.warning(str(error))
        return error

    @cached_property
    def _plugins(self) -> Mapping[str, Plugin]:
        """Those whose names are free, by name."""
        free: dict[str, Plugin] = {}
        for plugin in self._find(self._group):
            if plugin.name in self._built_in:
                self.leave_out(plugin, f"{plugin.name} is the name of a built-in one")
            elif plugin.name in free:
                self.leave_out(plugin, f"{free[plugin.name].package} has that name")
            else:
                free[plugin.name] = plugin
        return free

    def _load(self, plugin: Plugin) -> Thing:
        try:
            thing = self._make(load_object(plugin.location))
            reason = self._check(thing)
            called = getattr(thing, "name", None)
        except (Exception, SystemExit) as error:
            raise self.leave_out(plugin, f"it cannot be loaded, {type(error).__name__}: {error}".rstrip(".")) from error
        if reason is None and called != plugin.name:
            reason = f"it calls itself {called!r}, which is not the name of its entry point"
        if reason is not None:
            raise self.leave_out(plugin, reason)
        return thing
