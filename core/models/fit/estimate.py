"""Whether a model fits: the bytes that loading it takes, told by its header, against the memory that is free.

All of it is arithmetic without effects. `plan.py` decides where its parts lie; `records.py` keeps how much loading
really took, which corrects the next estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from core.devices.device import Device
from core.models.fit.parts import Parts, Setup, add_parts
from core.models.fit.placing import Companions
from core.models.fit.plan import Correction, LoadPlan, leave_uncorrected, plan_placement
from core.models.fit.records import FitRecord
from core.models.fit.sizing import ROUNDING_CELLS
from core.models.fit.speed import Speed
from core.models.fit.wish import PlacementWish
from core.models.formats.header import Header

TIGHT_SHARE: Final = 0.9
"""Share of the free memory above which it is tight: other programs want some soon."""


class Verdict(Enum):
    FITS = "fits"
    TIGHT = "tight"
    """It can be loaded, and leaves next to no memory for other programs."""
    DOES_NOT_FIT = "does not fit"


class Fit(Struct, frozen=True):
    """An answer to a question; the model may be loaded all the same."""

    verdict: Verdict
    plan: LoadPlan
    """Where it would lie."""
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> Parts:
        """On all devices together."""
        return add_parts(share.parts for share in self.plan.shares)

    @property
    def free(self) -> int:
        """Bytes that it may take, of all devices that it lies on."""
        wanted = [share for share in self.plan.shares if share.parts.needed]
        return sum(share.room for share in wanted)

    @property
    def lacking(self) -> int:
        """Bytes that would have to become free."""
        return self.plan.lacking


def judge_fit(
    header: Header,
    setup: Setup,
    devices: Sequence[Device],
    correct: Correction = leave_uncorrected,
    wish: PlacementWish = PlacementWish(),
    companions: Companions = Companions(),
) -> Fit:
    """The verdict for the fastest placement that fits. `devices`: the host first. Raises UsageError for a wish that
    cannot be met here."""
    plan = plan_placement(header, setup, devices, wish, companions=companions, correct=correct)
    return Fit(_judge(plan), plan, header.notes)


def find_largest_context(
    header: Header,
    setup: Setup,
    devices: Sequence[Device],
    correct: Correction = leave_uncorrected,
    wish: PlacementWish = PlacementWish(),
    companions: Companions = Companions(),
) -> int | None:
    """The most tokens a request may hold so that the model still fits, and not only just; at most what it was trained
    on. None where no context fits, `setup.context` has no say."""
    most = header.trained_context or setup.context

    def fits(context: int) -> bool:
        judged = judge_fit(header, replace(setup, context=context), devices, correct, wish, companions)
        return judged.verdict is Verdict.FITS

    if fits(most):
        return most
    low, high = 0, most // ROUNDING_CELLS
    while low < high:
        middle = -(-(low + high) // 2)
        low, high = (middle, high) if fits(middle * ROUNDING_CELLS) else (low, middle - 1)
    return low * ROUNDING_CELLS if low else None


def _judge(plan: LoadPlan) -> Verdict:
    if not plan.fits:
        return Verdict.DOES_NOT_FIT
    # A card's reserve is what other programs may want of it.
    host = plan.host
    wanted = host.parts.needed + host.parts.copies
    return Verdict.FITS if wanted <= host.device.free * TIGHT_SHARE else Verdict.TIGHT


class Judged(Struct, frozen=True):
    """A model's header with the verdict, and what it was judged for."""

    header: Header
    setup: Setup
    fit: Fit
    largest: int | None
    """The most tokens of context with which it fits; None where none does."""
    speed: Speed | None = None
    """How fast it would decode; None where nothing tells."""
    seen: FitRecord | None = None
    """What its last load on this machine took, whatever its context was; None where there was none."""
