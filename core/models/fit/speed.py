"""How fast a model would decode where it is planned to lie: bytes that a token reads there, over what the memory gives.

An upper bound, which a card reaches to a half with small models and to four fifths with large ones; where a run has
measured what a device really gave, by the same count of bytes, it is an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from msgspec import Struct

from core.devices.device import Device
from core.models.fit.bandwidth import GIGA_BYTES, HOST_GIGABYTES, find_bandwidth
from core.models.fit.plan import LoadPlan
from core.models.formats.header import Header

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
    experts = sum(block.experts for block in layout.blocks)
    kv = header.kv_bytes(min(plan.setup.context, USUAL_TOKENS), plan.setup.kv, windowed=True)
    kept = sum(share.parts.kv for share in plan.shares)
    found = []
    for share in plan.shares:
        on_host = not share.device.is_accelerator
        weights = share.parts.weights
        if on_host:
            # Of the embeddings only a row is read, unless they are the head as well.
            here = not plan.placed
            weights -= layout.input - (layout.tied if here else 0)
        resting = _count_experts(plan, layout_experts=[block.experts for block in layout.blocks], on_host=on_host)
        weights -= round(resting * (1 - used)) if experts else 0
        found.append(max(0, weights) + (round(kv * share.parts.kv / kept) if kept else 0))
    return tuple(found)


def _count_experts(plan: LoadPlan, layout_experts: list[int], *, on_host: bool) -> int:
    """Bytes of experts on the host; or on the devices, each of which has its part by its layers."""
    first = plan.layers - plan.placed
    kept = max(first, plan.placement.expert_layers)
    if on_host:
        return sum(layout_experts[:kept])
    return sum(layout_experts[kept:]) // max(1, sum(share.layers > 0 for share in plan.on_devices))


def _weaker(one: SpeedBasis, other: SpeedBasis) -> SpeedBasis:
    order = list(SpeedBasis)
    return max(one, other, key=order.index)
