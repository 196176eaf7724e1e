"""What loading really took, beside what was estimated: kept for this machine, and used to correct the estimate.

What is measured of main memory is the growth of the process's resident set (`core.hardware.measure_resident`), from
before the model was opened until it has computed a full batch and one further token, in a process that does nothing
else: the trial run that finds out whether an engine survives a model here, where that is a matter of seconds, and the
one that finds out whether a placement holds. Before that the activations' pages do not count, because nothing has
touched them; the KV cache's do, because llama.cpp clears it. Of other devices it is what was missing there in the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from core.contract.options import KvType
from core.contract.placement import HOST
from core.hardware import describe_machine
from core.kept import keep_lines, load_kept_lines
from core.models.fit.parts import Parts
from core.models.fit.plan import Correction, leave_uncorrected
from core.models.formats.header import Header

KEPT_LOADS: Final = 200
"""Loads that are remembered; the oldest are forgotten."""
ENOUGH_LOADS: Final = 3
"""Loads of other models with an engine before they say anything."""
MOST_FACTOR: Final = 3.0
"""Times the uncounted part may be larger or smaller than estimated; what is further off was no honest measurement."""

Bytes = Annotated[int, Meta(ge=0)]


class DeviceFit(Struct, frozen=True):
    """What a load took of one device."""

    device: str
    """Its id; HOST for main memory."""
    predicted: Parts
    """Uncorrected."""
    measured: Bytes

    @property
    def estimated(self) -> int:
        """What was expected to be seen."""
        return self.predicted.loaded if self.device == HOST else self.predicted.needed

    @property
    def error(self) -> float:
        """(estimated - measured) / measured."""
        return (self.estimated - self.measured) / max(1, self.measured)


class LoadedModelTraits(Struct, frozen=True):
    """Which model was loaded, as its header tells it."""

    name: str
    architecture: str
    quantization: str
    weight_bytes: Bytes


class FitRecord(Struct, frozen=True):
    """One load."""

    machine: str
    """Fingerprint."""
    engine: str
    model: LoadedModelTraits
    context: int
    kv: KvType
    devices: tuple[DeviceFit, ...]
    """Those that have a part of it, the host first."""

    @property
    def host(self) -> DeviceFit | None:
        return next((each for each in self.devices if each.device == HOST), None)


def describe_traits(header: Header) -> LoadedModelTraits:
    return LoadedModelTraits(header.name, header.architecture, header.quantization, header.weight_bytes)


class FitRecords:
    """The file of records. Reading never fails: what is damaged, or of an earlier version, is passed over and told in
    the log."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, record: FitRecord) -> None:
        """Once, however often the same is seen. Where it cannot be kept, nothing is lost but that."""
        before = [each for each in self.all() if each != record]
        keep_lines(self._path, [*before, record][-KEPT_LOADS:])

    def all(self) -> list[FitRecord]:
        """Oldest first."""
        return load_kept_lines(self._path, FitRecord)

    def find(self, header: Header) -> FitRecord | None:
        """The last load of a model on this machine."""
        mine = [record for record in self._list_here() if record.model == describe_traits(header)]
        return mine[-1] if mine else None

    def correction(self, engine: str, header: Header | None = None) -> Correction:
        """What this machine's loads with an engine have taught of the model with a header, or of any."""
        mine = [record for record in self._list_here() if record.engine == engine]
        return derive_correction(mine, None if header is None else describe_traits(header))

    def _list_here(self) -> list[FitRecord]:
        here = describe_machine().fingerprint
        return [record for record in self.all() if record.machine == here]


def derive_correction(records: Iterable[FitRecord], model: LoadedModelTraits | None = None) -> Correction:
    """Corrects, of what lies in main memory, the part that is not simply counted: activations, vocabulary, overhead.

    Where the model itself was loaded before, what it took beyond the estimate is added: that hardly depends on the
    context. Else the part is multiplied by the median over all loads of (measured - what is counted exactly) / (what
    was estimated of the rest). A median, because one load beside a busy program says nothing; bounded, so that no
    record makes an estimate absurd.
    """
    told = [(record, factor) for record in records if (factor := _find_factor(record)) is not None]
    own = [record.host for record, _ in told if record.model == model]
    if own:
        beyond = median(host.measured - host.estimated for host in own if host is not None)
        return lambda parts: replace(parts, overhead=max(0, parts.overhead + round(beyond)))
    if len(told) < ENOUGH_LOADS:
        return leave_uncorrected
    middle = median(factor for _, factor in told)
    return lambda parts: correct_parts(parts, middle)


def correct_parts(parts: Parts, factor: float) -> Parts:
    """The estimated parts times `factor`; weights, copies, KV cache and logits stay as they were counted, and so does
    what fills later, of which no measurement knows."""
    return replace(
        parts,
        compute=round(parts.compute * factor),
        vocabulary=round(parts.vocabulary * factor),
        overhead=round(parts.overhead * factor),
    )


def _find_factor(record: FitRecord) -> float | None:
    """None where the measurement contradicts what is counted exactly."""
    host = record.host
    if host is None:
        return None
    parts = host.predicted
    estimated = parts.compute + parts.vocabulary + parts.overhead
    exact = parts.loaded - estimated
    if estimated <= 0:
        return None
    factor = (host.measured - exact) / estimated
    return factor if 1 / MOST_FACTOR <= factor <= MOST_FACTOR else None
