"""How fast a model would decode where it is planned to lie: bytes that a token reads there, over what the memory gives.

An upper bound, which a card reaches to a half with small models and to four fifths with large ones; where a run has
measured what a device really gave, by the same count of bytes, it is an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from core.devices.device import Device
from core.models.fit.bandwidth import GIGA_BYTES, HOST_GIGABYTES, find_bandwidth
from core.models.fit.placing import find_ruled, sum_ruled
from core.models.fit.plan import DeviceShare, LoadPlan
from core.models.formats.header import Header
from core.models.formats.layout import Block

USUAL_TOKENS: Final = 2_048
"""Of the conversation behind which a token is decoded, at most."""


class SpeedBasis(Enum):
    """Where the bandwidth of the slowest memory that counts comes from."""

    MEASURED = "bandwidth of this device, measured by the last run"
    DATA_SHEET = "bandwidth of the data sheet"
    ASSUMED = "bandwidth, with 50 GB/s of main memory assumed"


class Speed(Struct, frozen=True):
    tokens: float
    """A second, of one stream."""
    basis: SpeedBasis

    @property
    def bound(self) -> str:
        """In a few characters; with a sign before what is an upper bound."""
        number = f"{self.tokens:.0f}" if self.tokens >= 10 else f"{self.tokens:.1f}"
        return number if self.basis is SpeedBasis.MEASURED else f"<{number}"

    @property
    def words(self) -> str:
        about = "about" if self.basis is SpeedBasis.MEASURED else "at most"
        return f"{about} {self.bound.removeprefix('<')} tokens/s"


def estimate_speed(header: Header, plan: LoadPlan, measured: Mapping[str, float] = {}) -> Speed | None:
    """`measured`: bytes a second that devices gave, by their ids. None where a device is not known, or nothing is
    read."""
    seconds, basis = 0.0, SpeedBasis.DATA_SHEET
    for share, read in zip(plan.shares, count_read_bytes(header, plan), strict=True):
        if not read:
            continue
        rate, source = find_rate(share.device, measured)
        if rate is None:
            return None
        seconds += read / rate
        basis = _weaker(basis, source) if seconds > read / rate else source
    return Speed(1 / seconds, basis) if seconds else None


def find_rate(device: Device, measured: Mapping[str, float]) -> tuple[float | None, SpeedBasis]:
    """Bytes a second."""
    if device.id in measured:
        return measured[device.id], SpeedBasis.MEASURED
    if told := find_bandwidth(device.name):
        return told, SpeedBasis.DATA_SHEET
    return (None if device.is_accelerator else HOST_GIGABYTES * GIGA_BYTES), SpeedBasis.ASSUMED


def count_read_bytes(header: Header, plan: LoadPlan) -> tuple[int, ...]:
    """What a token reads on each device of a plan: its weights, of the experts those that a token uses, and the keys
    and values before it."""
    layout = header.lay_out(mtp=plan.setup.mtp)
    used = header.experts_used / header.experts if header.experts else 1.0
    numbers = {share.device.id: number for number, share in enumerate(plan.shares)}
    rules = [(rule.pattern, numbers[rule.device]) for rule in plan.placement.rules if rule.device in numbers]
    ruled = sum_ruled(find_ruled(header, rules), len(layout.blocks))
    moved = ruled[-1].blocks if ruled else (Block(),) * len(layout.blocks)
    unmoved = [block.experts - apart.experts for block, apart in zip(layout.blocks, moved, strict=True)]
    kv = header.kv_bytes(min(plan.setup.context, USUAL_TOKENS), plan.setup.kv, windowed=True)
    kept = sum(share.parts.kv for share in plan.shares)
    found = []
    for number, share in enumerate(plan.shares):
        weights = share.parts.weights
        if not share.device.is_accelerator:
            # Of the embeddings only a row is read, unless they are the head as well.
            here = not plan.placed
            weights -= layout.input - (layout.tied if here else 0)
        experts = _count_experts(plan, unmoved, share)
        experts += sum(block.experts for block in ruled[number].blocks) if number in ruled else 0
        weights -= round(experts * (1 - used))
        found.append(max(0, weights) + (round(kv * share.parts.kv / kept) if kept else 0))
    return tuple(found)


def _count_experts(plan: LoadPlan, experts: Sequence[int], share: DeviceShare) -> int:
    """Bytes of the `experts` of each layer that lie with it, on one device: each that has layers has its part."""
    kept = max(plan.layers - plan.placed, plan.placement.expert_layers)
    if not share.device.is_accelerator:
        return sum(experts[:kept])
    return sum(experts[kept:]) // sum(each.layers > 0 for each in plan.on_devices) if share.layers else 0


def _weaker(one: SpeedBasis, other: SpeedBasis) -> SpeedBasis:
    order = list(SpeedBasis)
    return max(one, other, key=order.index)
