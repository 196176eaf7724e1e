"""The quants that a name stands for, and whether each of them fits: for front ends that list quants."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import SCRIPT, Artifact, FormatName
from core.contract.options import KvType
from core.devices.device import Device
from core.devices.listing import list_devices
from core.errors import ArtifactError, GatedRepository, HubUnreachable, ModelNotFound, NotDownloaded
from core.models.fit.estimate import Judged
from core.models.formats.header import Header
from core.models.formats.layout import scale_tensors
from core.models.hub.choose_quant import choose_quant
from core.models.hub.repository import Quant, Repository
from core.models.resolve import list_wishes
from core.names import Alias, BuiltIn, HubName, Name, Server, shorten_name
from core.settings.profile import Profile

if TYPE_CHECKING:
    from core.models.store import Store


class Offer(Struct, frozen=True):
    """One model of a repository, or one that is built in."""

    name: str
    format: FormatName
    size: int
    """Bytes."""
    judged: Judged | None
    """None where no header of its format could be read."""


def adapt_header(header: Header, quant: Quant) -> Header:
    """The header of another quant of the same model: layers and vocabulary are the same, the weights are as large as
    its files. Types of tensors are not known, so no rearranged copies are counted."""
    tensors = scale_tensors(header.tensors, quant.size / max(1, header.weight_bytes))
    return replace(header, weight_bytes=quant.size, quantization=quant.label, portions=(), tensors=tensors)


def list_own_offers(
    store: Store,
    name: Name,
    context: int | None = None,
    kv: KvType | None = None,
    memory: tuple[Device, ...] | None = None,
    profile: Profile = Profile(),
) -> tuple[Offer, ...]:
    """As `list_offers`, of any model that the user of this machine can name; what is here is looked at here where the
    Hub cannot be reached. Raises as `Store.resolve` and `list_offers` do, and ArtifactError."""
    if isinstance(name, Server):
        raise ModelNotFound(str(name), f"What {shorten_name(str(name))} needs is that server's matter.")
    if not isinstance(name, Alias | HubName):
        return (_judge_artifact(store, store.resolve(name), context, kv, memory or list_devices(), profile),)
    try:
        return list_offers(store, name, context, kv, memory, profile)
    except HubUnreachable:
        try:
            artifact = store.resolve(name)
        except NotDownloaded:
            pass
        else:
            return (_judge_artifact(store, artifact, context, kv, memory or list_devices(), profile),)
        raise


def _judge_artifact(
    store: Store,
    artifact: Artifact,
    context: int | None,
    kv: KvType | None,
    memory: tuple[Device, ...],
    profile: Profile,
) -> Offer:
    if artifact.format == SCRIPT:
        # The echo model has no weights, and fits anywhere.
        return Offer(artifact.name, artifact.format, artifact.size, None)
    judged = store.judge(store.header(artifact), profile=profile, context=context, kv=kv, memory=memory)
    return Offer(artifact.name, artifact.format, artifact.size, judged)


def list_offers(
    store: Store,
    name: Name,
    context: int | None = None,
    kv: KvType | None = None,
    memory: tuple[Device, ...] | None = None,
    profile: Profile = Profile(),
) -> tuple[Offer, ...]:
    """Every quant of a model that runs here, or the single quant that the name asks for. Asks the Hub: reads one header
    for each format, and derives those of the other quants from it. `memory`: the devices of another machine; `profile`:
    what is wanted of the model.

    Raises ModelNotFound for what is neither built in, nor in the catalog, nor a name of the Hub, and HubError.
    """
    memory = memory or list_devices()
    if isinstance(name, BuiltIn):
        return (_judge_artifact(store, store.resolve(name), context, kv, memory, profile),)
    if not isinstance(name, Alias | HubName):
        raise ModelNotFound(
            str(name), f"{shorten_name(str(name))} is no model of the Hub or the catalog; write owner/name."
        )
    found = []
    for format_, quants in _by_format(store, name).items():
        header = _header(store, quants[0])
        for quant in quants:
            own = header if quant is quants[0] else adapt_header(header, quant) if header is not None else None
            asked = partial(store.judge, profile=profile, context=context, kv=kv, memory=memory)
            judged = asked(own) if own is not None else None
            found.append(Offer(quant.name, format_, quant.size, judged))
    if not found:
        raise ModelNotFound(str(name), f"{shorten_name(str(name))} holds nothing that can be run here.")
    return tuple(found)


def _by_format(store: Store, name: Alias | HubName) -> dict[FormatName, list[Quant]]:
    """The usual quant of each format comes first. Raises ModelNotFound, HubError."""
    found: dict[FormatName, list[Quant]] = {}
    formats = store.formats
    named = name.label or name.file if isinstance(name, HubName) else name.variant
    for wish in list_wishes(name, formats=formats):
        repository = store.repository(wish.name.repo, wish.name.revision)
        able = [quant for quant in repository.quants if quant.format in wish.formats and quant.format in formats]
        for format_ in dict.fromkeys(quant.format for quant in able):
            usual = _usual(wish.name, repository, format_) if named else None
            mine = [quant for quant in able if quant.format == format_]
            found.setdefault(format_, []).extend([usual] if usual is not None else [] if named else mine)
    return {format_: quants for format_, quants in found.items() if quants}


def _usual(name: HubName, repository: Repository, format_: FormatName) -> Quant | None:
    try:
        return choose_quant(name, repository, (format_,))
    except ModelNotFound:
        return None


def _header(store: Store, quant: Quant) -> Header | None:
    """None where the files are closed or damaged; the listing is open all the same."""
    try:
        return store.header(quant)
    except (ArtifactError, GatedRepository):
        return None
