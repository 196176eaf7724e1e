"""What is found out about the selected model: the quants one may take of it, and which of them fit."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from core.contract.artifact import FormatName
from core.errors import BenchtopError, ModelNotFound
from core.models.formats.header import Header
from tui.screens.models.fit import Dial, QuantChoice
from tui.screens.models.rows import Item

if TYPE_CHECKING:
    from core.devices.device import Device
    from core.models.fit.estimate import Judged
    from core.models.store import Store
    from core.names import HubName


class Leaf(Struct, frozen=True):
    """What was found out about one model. Its verdicts stand in the order of its choices, or there is one."""

    choices: tuple[QuantChoice, ...] = ()
    name: str = ""
    """By which the settings may want something of it."""
    header: Header | None = None
    """Of a model that is here."""
    dial: Dial | None = None
    turned: bool = False
    """The dial was set by hand, and is to be heeded when the model is loaded."""
    verdicts: tuple[Judged | None, ...] = ()
    usual: int = 0
    """Which of the choices most people take."""
    note: str = ""
    """What is going on, or what went wrong."""
    memory: tuple[Device, ...] = ()
    gated: bool = False
    """The owner wants to be asked before a download."""

    @property
    def headers(self) -> tuple[Header | None, ...]:
        return tuple(choice.header for choice in self.choices) or (self.header,)


def list_memory() -> tuple[Device, ...]:
    """The memory of this machine as it is now: what a verdict is about."""
    from core.devices.listing import list_devices

    return list_devices()


def list_quants(store: Store, item: Item, here: Collection[str]) -> Leaf:
    """The quants of a model at the Hub, those that run here first. Raises BenchtopError."""
    from core.models.hub.choose_quant import choose_quant
    from core.names import HubName

    formats = store.formats
    names = _name_repositories(item, formats)
    found, failure = [], None
    for name in names:
        try:
            found.append((name, store.repository(name.repo)))
        except BenchtopError as error:
            failure = failure or error
    quants = [quant for _, repository in found for quant in repository.quants]
    if not quants:
        raise failure or ModelNotFound(
            item.name, f"{item.name} holds nothing that can be run here; look for a repository with GGUF files."
        )
    choices = [QuantChoice(quant, here=quant.name in here, runs=quant.format in formats) for quant in quants]
    choices.sort(key=lambda each: not each.runs)
    try:
        usual = choose_quant(HubName(found[0][0].repo, found[0][0].label), found[0][1], formats)
    except ModelNotFound:
        usual = choices[0].quant
    index = next(number for number, each in enumerate(choices) if each.quant == usual)
    gated = any(repository.gated for _, repository in found)
    note = f"The owner of {item.name} wants to be asked before a download." if gated else ""
    return Leaf(tuple(choices), item.name, usual=index, note=note, memory=list_memory(), gated=gated)


def _name_repositories(item: Item, formats: Sequence[FormatName]) -> list[HubName]:
    """Where its files are: its own repository, or what the catalog says of each format that runs here."""
    from core.names import HubName

    if item.found is not None:
        return [HubName(item.found.id)]
    assert item.catalog is not None
    sources = [source for source in item.catalog.sources() if source.format in formats]
    sources.sort(key=lambda source: formats.index(source.format))
    named = {source.name.repo: source.name for source in sources or item.catalog.sources()}
    return list(named.values())
