"""Where the parts of a model are to lie: a pure decision on its header and the devices.

The fastest memory is filled first. Whole layers move out of it one by one, the first ones first, as llama.cpp takes the
last ones onto its devices; the experts of a layer, of which a token uses few, move before its attention. What a user
has fixed stays so, whether it fits or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.contract.placement import Placement, SplitMode
from core.devices.device import Backend, Device, DeviceKind
from core.devices.endpoints import format_endpoint
from core.models.fit.bandwidth import find_bandwidth
from core.models.fit.parts import Parts, Setup, count_draw_bytes, count_kept_bytes, count_pass_bytes, count_passes
from core.models.fit.placing import (
    HOST_INDEX,
    Arrangement,
    Companions,
    count_draft_bytes,
    find_ruled,
    place_parts,
)
from core.models.fit.wish import MAIN_MEMORY, PlacementWish, check_wish
from core.models.formats.header import Header

CONTEXT_BYTES: Final = 530 << 20
"""What a process takes of an NVIDIA or AMD card before it has put anything there. The free memory that a driver tells
does not have it subtracted while there is no such process."""
PASS_BYTES: Final = 110 << 20
"""What the first passes take beside all buffers that loading tells of."""
CONTEXTUAL: Final = frozenset({Backend.CUDA, Backend.ROCM, Backend.MUSA})
LENDING: Final = frozenset({Backend.RPC, Backend.CPU, Backend.UNKNOWN})
"""Devices that do not compute with weights of the host."""
ORDER: Final = (DeviceKind.CARD, DeviceKind.UNIFIED, DeviceKind.REMOTE)
Correction = Callable[[Parts], Parts]
"""What earlier loads have taught; see `core.models.fit.records`."""


def leave_uncorrected(parts: Parts) -> Parts:
    return parts


class DeviceShare(Struct, frozen=True):
    """What one device has of a model."""

    device: Device
    parts: Parts
    reserve: int
    """Bytes that are left free there."""
    layers: int = 0
    """The output counted as one."""

    @property
    def room(self) -> int:
        """Bytes that the model may take."""
        return max(0, self.device.free - self.reserve)

    @property
    def lacking(self) -> int:
        return max(0, self.parts.needed - self.room)


class LoadPlan(Struct, frozen=True):
    """A placement with what each device takes of it."""

    placement: Placement
    setup: Setup
    shares: tuple[DeviceShare, ...]
    """The host's first, then those of `placement.devices`."""
    layers: int
    """Of the model, the output counted as one."""
    experts: int
    """So many of its layers have experts."""
    lacking: int
    """Bytes that would have to become free, on all devices together."""
    whole: int
    """What the accelerators would take if all of it lay there; zero where there is none."""
    wish: PlacementWish = PlacementWish()
    kv_room: int | None = None
    """Bytes beside the weights by which the sizes were chosen; None where they were given."""

    @property
    def fits(self) -> bool:
        return not self.lacking

    @property
    def host(self) -> DeviceShare:
        return self.shares[0]

    @property
    def on_devices(self) -> tuple[DeviceShare, ...]:
        return self.shares[1:]

    @property
    def placed(self) -> int:
        """Layers that lie on devices."""
        return sum(share.layers for share in self.on_devices)

    @property
    def expert_layers(self) -> int:
        """Layers on devices of which the experts lie with the host."""
        first = self.layers - self.placed
        return max(0, min(self.placement.expert_layers, self.experts) - first)


class Extent(Struct, frozen=True):
    """How much of a model lies on devices."""

    layers: int
    experts: int
    """Of so many of the first layers, they lie with the host."""


def count_reserve(device: Device) -> int:
    """Bytes that are left free on a device. What the system and other programs want of the host's memory is not told as
    free in the first place."""
    if not device.is_accelerator:
        return 0
    return PASS_BYTES + (CONTEXT_BYTES if device.backend in CONTEXTUAL else 0)


def order_accelerators(devices: Sequence[Device]) -> list[Device]:
    """The fastest memory first; those that share the host's are left out where there are cards."""
    found = [device for device in devices if device.is_accelerator]
    if any(device.kind is DeviceKind.CARD for device in found):
        found = [device for device in found if device.kind is not DeviceKind.UNIFIED]
    return sorted(found, key=lambda device: (ORDER.index(device.kind), -find_bandwidth(device.name)))


def plan_placement(
    header: Header,
    setup: Setup,
    devices: Sequence[Device],
    wish: PlacementWish = PlacementWish(),
    *,
    companions: Companions = Companions(),
    correct: Correction = leave_uncorrected,
) -> LoadPlan:
    """The fastest placement that fits, or the one that lacks least where none does.

    `devices`: the host first, each with what may be taken of it as its free memory. Raises UsageError for a wish that
    this model and these devices cannot meet.
    """
    accelerators = [] if wish.avoids_devices else [device for device in devices if device.is_accelerator]
    check_wish(wish, [device for device in devices if device.is_accelerator])
    fixed = bool(wish.shares) or wish.main is not None or wish.split is not SplitMode.LAYER
    ordered = accelerators if fixed else order_accelerators(accelerators)
    host = next(device for device in devices if not device.is_accelerator)
    return _Planner(header, setup, host, ordered, wish, companions, correct).plan()


class _Planner:
    def __init__(
        self,
        header: Header,
        setup: Setup,
        host: Device,
        accelerators: Sequence[Device],
        wish: PlacementWish,
        companions: Companions,
        correct: Correction,
    ) -> None:
        self._header = header
        self._setup = setup
        self._devices = (host, *accelerators)
        self._wish = wish
        self._companions = companions
        self._correct = correct
        self._layout = header.lay_out(mtp=setup.mtp)
        self._passes = count_passes(header, setup)
        self._total = len(header.layers) + 1
        numbers = {device.id: number for number, device in enumerate(self._devices)} | dict.fromkeys(
            MAIN_MEMORY, HOST_INDEX
        )
        rules = [(rule.pattern, numbers[rule.device]) for rule in wish.rules if rule.device in numbers]
        self._ruled = find_ruled(header, rules)

    def plan(self) -> LoadPlan:
        on_host = self._weigh(Extent(0, 0), ())
        groups = self._list_groups()
        if not groups or not self._header.layers:
            return self._finish(on_host)
        candidates = self._list_candidates()
        found = [on_host, *(self._search(candidates, group) for group in groups)]
        return self._finish(max(found, key=self._rank))

    def _rank(self, weighed: _Weighed) -> tuple[bool, bool, int, int, int, int]:
        """The fastest of those that fit; of those that do not, the one that lacks least. What a user asked for comes
        before what would fit."""
        asked = self._wish.gpu_layers is None or weighed.candidate.layers > 0
        devices = len(set(weighed.arrangement.blocks) | {weighed.arrangement.output})
        candidate = weighed.candidate
        return asked, weighed.fits_devices, -weighed.lacking, candidate.layers, -candidate.experts, -devices

    def _list_groups(self) -> list[tuple[int, ...]]:
        """Devices that may share a model: one alone where all of it fits there, else all of them."""
        numbers = tuple(range(1, len(self._devices)))
        if not numbers:
            return []
        if self._wish.split is SplitMode.NONE:
            return [(numbers[self._wish.main or 0],)]
        if self._wish.shares or self._wish.split is SplitMode.ROW or len(numbers) == 1:
            return [numbers]
        return [*((number,) for number in numbers), numbers]

    def _list_candidates(self) -> list[Extent]:
        """The fastest first; each takes less of the devices than the one before."""
        wish, most = self._wish, self._layout.experts
        layers = range(self._total, 0, -1) if wish.gpu_layers is None else [min(wish.gpu_layers, self._total)]
        if wish.expert_layers is not None:
            return [Extent(count, min(wish.expert_layers, most)) for count in layers]
        first = self._total - layers[0]
        moving = [Extent(layers[0], count) for count in range(first + 1, most + 1)]
        return [Extent(layers[0], 0), *moving, *(Extent(count, most) for count in layers[1:])]

    def _search(self, candidates: Sequence[Extent], group: tuple[int, ...]) -> _Weighed:
        """The first candidate that the devices have room for, or the last one. What leaves them goes to the host, so
        no later one would fit there either."""
        low, high = 0, len(candidates) - 1
        while low < high:
            middle = (low + high) // 2
            if self._weigh(candidates[middle], group).fits_devices:
                high = middle
            else:
                low = middle + 1
        return self._weigh(candidates[low], group)

    def _weigh(self, candidate: Extent, group: tuple[int, ...]) -> _Weighed:
        arrangement = self._arrange(candidate, group)
        count = len(self._devices)
        parts = place_parts(self._header, self._setup, arrangement, count, self._companions, self._layout, self._passes)
        shares = []
        for number, part in enumerate(parts):
            device = self._devices[number]
            layers = (*arrangement.blocks, arrangement.output).count(number)
            used = number in arrangement.used or part.needed > 0
            reserve = count_reserve(device) if used else 0
            shares.append(DeviceShare(device, self._correct(part) if number == HOST_INDEX else part, reserve, layers))
        return _Weighed(candidate, arrangement, tuple(shares))

    def _arrange(self, candidate: Extent, group: tuple[int, ...]) -> Arrangement:
        """The placement of so much on some devices; those are filled in their order."""
        blocks = self._total - 1
        if not candidate.layers or not group:
            return Arrangement((HOST_INDEX,) * blocks, ruled=self._ruled)
        on_host = self._total - candidate.layers
        if self._wish.split is SplitMode.ROW:
            main = group[min(self._wish.main or 0, len(group) - 1)]
            taken = [main] * candidate.layers
        elif self._wish.shares:
            taken = _divide(candidate.layers, group, self._wish.shares)
        else:
            taken = self._fill(candidate, group)
        placed = [HOST_INDEX] * on_host + taken
        first = taken[0]
        spread = len(set(taken)) > 1
        device = self._devices[first]
        lends = device.backend not in LENDING
        return Arrangement(
            blocks=tuple(placed[:-1]),
            output=placed[-1],
            expert_layers=candidate.experts,
            ruled=self._ruled,
            kv_offload=self._wish.kv_offload,
            helper=first if lends and self._wish.op_offload and (on_host or candidate.experts) else HOST_INDEX,
            pins=lends,
            pipelines=spread and lends and not on_host and not candidate.experts and self._wish.kv_offload,
            beside=first,
            rows=self._normalize_rows() if self._wish.split is SplitMode.ROW else (),
        )

    def _fill(self, candidate: Extent, group: tuple[int, ...]) -> list[int]:
        """A device for each of the layers that lie on one; what the last device has no room for is put there all the
        same."""
        start = self._total - candidate.layers
        helped = bool(start or candidate.experts)
        at, left = 0, self._room(group[0], first=True, helped=helped, candidate=candidate)
        taken = []
        for index in range(start, self._total):
            cost = self._cost(index, candidate)
            while cost > left and at + 1 < len(group):
                at += 1
                left = self._room(group[at], first=False, helped=False, candidate=candidate)
            left -= cost
            taken.append(group[at])
        return taken

    def _room(self, number: int, *, first: bool, helped: bool, candidate: Extent) -> int:
        """Bytes for layers on a device."""
        device = self._devices[number]
        _, passes = count_pass_bytes(self._header, self._setup, self._passes, 0)
        if helped and device.backend not in LENDING and self._wish.op_offload:
            host = self._layout.blocks[: max(self._total - candidate.layers, candidate.experts)]
            passes += max((block.largest for block in host), default=0)
        beside = count_draft_bytes(self._companions, self._setup) if first else 0
        return device.free - count_reserve(device) - passes - beside

    def _cost(self, index: int, candidate: Extent) -> int:
        """What one layer, or the output behind the last, takes of a device."""
        if index == self._total - 1:
            _, passes = count_pass_bytes(self._header, self._setup, self._passes, 0)
            draw = count_draw_bytes(self._header, self._setup, self._passes)
            return self._layout.head + max(0, draw - passes)
        block = self._layout.blocks[index]
        weights = block.steady + (0 if index < candidate.experts else block.experts)
        return weights + (self._kept[index] if self._wish.kv_offload else 0)

    @cached_property
    def _kept(self) -> list[int]:
        """Keys, values and states of each layer."""
        alone = [replace(self._header, layers=(layer,), mtp_layers=()) for layer in self._header.layers]
        return [sum(count_kept_bytes(each, self._setup, self._passes)) for each in alone]

    def _normalize_rows(self) -> tuple[float, ...]:
        given = self._wish.shares or tuple(device.free for device in self._devices[1:])
        padded = (*given, *(0.0,) * (len(self._devices) - 1 - len(given)))
        return tuple(share / (sum(padded) or 1) for share in padded)

    def _finish(self, weighed: _Weighed) -> LoadPlan:
        wish, arrangement = self._wish, weighed.arrangement
        used = [number for number in range(1, len(self._devices)) if number in arrangement.used]
        shares = (weighed.shares[HOST_INDEX], *(weighed.shares[number] for number in used))
        rows = arrangement.rows
        counts = tuple(float(weighed.shares[number].layers) for number in used)
        divided = tuple(rows[number - 1] for number in used) if rows else counts
        main = used.index(arrangement.output) if rows else 0
        placement = Placement(
            devices=tuple(self._devices[number].id for number in used),
            layers=weighed.candidate.layers if used else 0,
            split=wish.split,
            shares=divided if len(used) > 1 else (),
            main=main,
            expert_layers=weighed.candidate.experts,
            rules=wish.rules,
            kv_offload=wish.kv_offload,
            op_offload=wish.op_offload,
            mapped=wish.mapped,
            locked=wish.locked,
        )
        return LoadPlan(
            placement=placement,
            setup=self._setup,
            shares=shares,
            layers=self._total,
            experts=self._layout.experts,
            lacking=weighed.lacking,
            whole=self._count_whole(),
            wish=wish,
        )

    def _count_whole(self) -> int:
        if len(self._devices) < 2:
            return 0
        everything = Arrangement((1,) * (self._total - 1), 1, kv_offload=self._wish.kv_offload, pins=True, beside=1)
        return place_parts(self._header, self._setup, everything, 2, self._companions, self._layout, self._passes)[
            1
        ].needed


class _Weighed(Struct, frozen=True):
    """A candidate with what each device takes of it, the host first."""

    candidate: Extent
    arrangement: Arrangement
    shares: tuple[DeviceShare, ...]

    @property
    def fits_devices(self) -> bool:
        return not any(share.lacking for share in self.shares[1:])

    @property
    def fits(self) -> bool:
        return not self.lacking

    @property
    def lacking(self) -> int:
        host = self.shares[HOST_INDEX]
        shared = sum(share.parts.needed for share in self.shares[1:] if share.device.kind is DeviceKind.UNIFIED)
        missing = max(0, host.parts.needed + shared - host.room)
        return missing + sum(share.lacking for share in self.shares[1:])


def _divide(layers: int, group: Sequence[int], shares: Sequence[float]) -> list[int]:
    """As llama.cpp does it (`llama-model.cpp`, `get_layer_buft_list`): each layer goes where its place in the row falls
    among the shares."""
    ends, total = [], 0.0
    for share in shares:
        total += share
        ends.append(total)
    return [
        group[next((at for at, end in enumerate(ends) if end / total > index / layers), len(ends) - 1)]
        for index in range(layers)
    ]


def list_reachable(devices: Sequence[Device], servers: Sequence[str] | None) -> tuple[Device, ...]:
    """The devices that a model may lie on: of servers' those that its options name. Raises ValueError for a name that
    is no server's address."""
    named = tuple(f"[{format_endpoint(server)}]" for server in servers or ())
    return tuple(
        device
        for device in devices
        if device.kind is not DeviceKind.REMOTE or any(server in device.id for server in named)
    )


def list_limited(devices: Sequence[Device], limits: Mapping[str, int]) -> tuple[Device, ...]:
    """The devices with no more free memory than may be taken of them; `limits` by their ids."""
    return tuple(
        replace(device, free=max(0, min(device.free, limits.get(device.id, device.free)))) for device in devices
    )
