"""From the name a user gives to what would be downloaded for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.engines.base import ArtifactFormat
from core.errors import ModelNotFound
from core.models.choice import ORDER, wanted
from core.models.names import BuiltIn, LocalPath, Server
from core.models.repository import Quant
from core.models.resolve import read, wishes

if TYPE_CHECKING:
    from core.models.hub import Hub


def find(name: str, hub: Hub, formats: Sequence[ArtifactFormat] = ORDER) -> Quant:
    """Ask the Hub for the files of a model, in the first of `formats` in which it can be had.

    Raises ModelNotFound for what cannot be downloaded or is not there, HubError.
    """
    understood = read(name)
    for wish in wishes(understood, formats=formats):
        return wanted(wish.name, hub.repository(wish.name.repo, wish.name.revision), wish.formats)
    match understood:
        case BuiltIn():
            raise ModelNotFound(name, f"{name} comes with benchtop; there is nothing to download.")
        case LocalPath(path=path):
            raise ModelNotFound(name, f"{path} is a path on this machine; a name of the Hub is written owner/name.")
        case Server():
            raise ModelNotFound(name, f"{name} is a server's address, which is used as it is; nothing is downloaded.")
    raise ModelNotFound(name, f"{name!r} is no model that can be downloaded; write owner/name, or owner/name:Q4_K_M.")
