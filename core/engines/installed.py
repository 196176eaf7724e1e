"""Whether the packages that an engine wants are installed, and which version: found without importing them."""

from __future__ import annotations

from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from msgspec import Struct

from core.contract.engine import Availability, Available, Unavailable


class Package(Struct, frozen=True):
    """What an engine imports, and what users install for it."""

    module: str
    """With a dot for a part that some builds of the package lack: `mlx.core`."""
    name: str
    """As package indexes know it."""
    mend: str | None = None
    """The command that installs it."""
    lack: str | None = None
    """A sentence for where it is missing; None for the usual one."""
    builds: tuple[str, ...] = ()
    """Other packages with the same module."""

    @property
    def is_here(self) -> bool:
        parent = self.module.rpartition(".")[0]
        if not parent:
            return find_spec(self.module) is not None
        # `find_spec` of a name with a dot would import what is before the dot.
        found = find_spec(parent)
        return found is not None and PathFinder.find_spec(self.module, found.submodule_search_locations) is not None

    @property
    def version(self) -> str:
        for name in (self.name, *self.builds):
            try:
                return version(name)
            except PackageNotFoundError:
                continue
        return "unknown"


def check_packages(first: Package, *others: Package) -> Availability:
    """Available with the version of the first where all are installed; else what is missing, and what mends it."""
    for package in (first, *others):
        if not package.is_here:
            return Unavailable(package.lack or f"The package {package.name} is not installed.", package.mend)
    return Available(first.version)
