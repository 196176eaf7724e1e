"""What fits: the quants of a model with their verdicts for one context and KV type. Pure but for `judge_headers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import FormatName
from core.contract.options import KvType
from core.devices.device import Device
from core.errors import UsageError
from core.models.fit.what_if import make_devices
from core.models.formats.header import Header
from core.models.hub.repository import Quant
from core.models.offers import adapt_header
from core.sizes import format_size, parse_size

if TYPE_CHECKING:
    from core.models.fit.estimate import Judged
    from core.models.fit.plan import LoadPlan
    from core.models.store import Store

LEAST_TOKENS: Final = 512
"""Tokens of the shortest context that is offered."""
UNKNOWN_CONTEXT_TOKENS: Final = 131_072
"""How far the slider goes for a model that does not tell what it was trained on."""
KV_TYPES: Final = (KvType.F16, KvType.Q8_0, KvType.Q8_0_Q4_0, KvType.Q4_0)


class Dial(Struct, frozen=True):
    """The context that is asked about, as a step of a slider, and the KV cache's type."""

    steps: tuple[int, ...]
    """Tokens, ascending; never empty."""
    at: int = 0
    kv: KvType = KvType.F16

    @property
    def context(self) -> int:
        return self.steps[self.at]

    @property
    def share(self) -> float:
        """How far along the slider it stands, from 0 to 1."""
        return self.at / (len(self.steps) - 1) if len(self.steps) > 1 else 1.0

    def moved(self, by: int) -> Dial:
        return replace(self, at=min(len(self.steps) - 1, max(0, self.at + by)))

    def cycled(self) -> Dial:
        at = KV_TYPES.index(self.kv) + 1 if self.kv in KV_TYPES else 0
        return replace(self, kv=KV_TYPES[at % len(KV_TYPES)])


class QuantChoice(Struct, frozen=True):
    """A quant one may take."""

    quant: Quant
    header: Header | None = None
    """Its own, or made of another quant's; None where no header of its format could be read."""
    own: bool = False
    here: bool = False
    runs: bool = True
    """Whether an engine here takes its format."""


def list_steps(trained: int) -> tuple[int, ...]:
    """Powers of two from LEAST_TOKENS on, up to the context that a model was trained on, which is the last."""
    most = trained or UNKNOWN_CONTEXT_TOKENS
    powers = []
    each = LEAST_TOKENS
    while each < most:
        powers.append(each)
        each *= 2
    return (*powers, most)


def set_dial(trained: int, usual: int, kv: KvType) -> Dial:
    """Set to the longest step that is no more than what the model would be loaded with."""
    offered = list_steps(trained)
    at = max((index for index, each in enumerate(offered) if each <= usual), default=0)
    return Dial(offered, at, kv)


def add_header(choices: Iterable[QuantChoice], quant: Quant, header: Header) -> tuple[QuantChoice, ...]:
    """The choices once the header of one of them was read; others of its format are judged by it until theirs is."""
    return tuple(_told(choice, quant, header) for choice in choices)


def _told(choice: QuantChoice, quant: Quant, header: Header) -> QuantChoice:
    if choice.quant == quant:
        return replace(choice, header=header, own=True)
    if choice.own or choice.quant.format != quant.format or choice.quant.repo != quant.repo:
        return choice
    # Whether it is a graph or GGUF: what its layers keep depends on the architecture alone.
    return replace(choice, header=adapt_header(header, choice.quant))


def choose_to_read(choices: Iterable[QuantChoice], preferred: Quant | None) -> tuple[Quant, ...]:
    """One quant for each repository and format that runs here, whose header tells enough of the others."""
    chosen: dict[tuple[str, FormatName], Quant] = {}
    for choice in choices:
        key = (choice.quant.repo, choice.quant.format)
        if choice.runs and (key not in chosen or choice.quant == preferred):
            chosen[key] = choice.quant
    return tuple(sorted(chosen.values(), key=lambda quant: quant != preferred))


def judge_headers(
    store: Store, name: str, headers: Sequence[Header | None], dial: Dial | None, memory: tuple[Device, ...]
) -> tuple[Judged | None, ...]:
    """The verdict of each header of a model that goes by a name, for the dial's context or as it would be loaded. Reads
    the records on disk."""
    context, kv = (dial.context, dial.kv) if dial is not None else (None, None)
    judge = partial(store.judge, profile=store.find_profile(name), context=context, kv=kv, memory=memory)
    return tuple(judge(header) if header is not None else None for header in headers)


def read_machine(text: str, host: Device) -> tuple[Device, ...]:
    """Another machine, as one writes it: the memory of a card, or of several with plus signs, their name before it
    where that is known, and behind a comma main memory. `rtx 3060 12GB, 32GB`, `12GB+8GB`, `0, 16GB` without a card.
    Raises UsageError."""
    cards, _, main = text.partition(",")
    name, _, first = cards.partition("+")[0].strip().rpartition(" ")
    sizes = [first, *cards.split("+")[1:]]
    try:
        found = [parse_size(size, host.total) for size in sizes if size.strip() != "0"]
        memory = parse_size(main, host.total) if main.strip() else None
    except ValueError as error:
        raise UsageError(str(error)) from error
    return make_devices(host, found, memory, name.strip() or None)


def describe_memory(devices: Sequence[Device]) -> str:
    """Another machine in a few words."""
    host, *cards = devices
    words = []
    for card in cards:
        size = format_size(card.total)
        # A card without a name of its own is called by its size.
        words.append(card.name if size in card.name else f"{card.name} of {size}")
    return ", ".join((*words, f"{format_size(host.free)} of main memory"))


def describe_where(plan: LoadPlan) -> str:
    """Where a model would lie, for a narrow column."""
    if not plan.fits:
        return ""
    if not plan.placed:
        return "main memory"
    if plan.placed < plan.layers:
        return f"{plan.placed}/{plan.layers} on card"
    return f"{plan.expert_layers} experts out" if plan.expert_layers else "on card"


class Share(Struct, frozen=True):
    """Bytes that loading takes, in the four parts a user thinks of."""

    weights: int
    kv: int
    overhead: int
    free: int

    @property
    def needed(self) -> int:
        return self.weights + self.kv + self.overhead


def compute_shares(verdict: Judged) -> Share:
    """Of a verdict. A KV cache that grows as it fills is counted full."""
    parts = verdict.fit.parts
    kv = parts.kv + (parts.filling if verdict.setup.grows else 0)
    return Share(parts.weights, kv, parts.needed - parts.weights - kv, verdict.fit.free)
