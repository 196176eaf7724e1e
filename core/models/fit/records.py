"""What loading really took, beside what was estimated: kept for this machine, and used to correct the estimate.

What is measured is the growth of the process's resident set (`core.hardware.measure_resident`), from before the model
was opened until it has computed a full batch and one further token, in a process that does nothing else: the trial run
that finds out whether an engine survives a model here, where that is a matter of seconds. Before that the activations'
pages do not count, because nothing has touched them; the KV cache's do, because llama.cpp clears it. Memory of a card
is not seen in it, and is not recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from core.hardware import describe_machine
from core.kept import keep_lines, load_kept_lines
from core.models.fit.parts import Parts
from core.models.fit.plan import Correction, leave_uncorrected

KEPT_LOADS: Final = 200
"""Loads that are remembered; the oldest are forgotten."""
ENOUGH_LOADS: Final = 3
"""Loads of an engine before they say anything."""
MOST_FACTOR: Final = 3.0
"""Times the uncounted part may be larger or smaller than estimated; what is further off was no honest measurement."""

Bytes = Annotated[int, Meta(ge=0)]


class FitRecord(Struct, frozen=True):
    """One load."""

    machine: str
    """Fingerprint."""
    engine: str
    architecture: str
    quantization: str
    predicted: Parts
    """Uncorrected."""
    measured: Bytes
    """Bytes by which the resident set grew."""

    @property
    def error(self) -> float:
        """(predicted - measured) / measured."""
        return (self.predicted.loaded - self.measured) / max(1, self.measured)


class FitRecords:
    """The file of records. Reading never fails: a damaged line is passed over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, record: FitRecord) -> None:
        """Where it cannot be kept, nothing is lost but that."""
        keep_lines(self._path, [*self.all(), record][-KEPT_LOADS:])

    def all(self) -> list[FitRecord]:
        """Oldest first."""
        return load_kept_lines(self._path, FitRecord)

    def correction(self, engine: str) -> Correction:
        """What this machine's loads with an engine have taught."""
        here = describe_machine().fingerprint
        return derive_correction(record for record in self.all() if record.engine == engine and record.machine == here)


def derive_correction(records: Iterable[FitRecord]) -> Correction:
    """Corrects the part that is not simply counted: activations, vocabulary, overhead.

    The factor is the median over the loads of (measured - what is counted exactly) / (what was estimated of the rest).
    A median, because one load beside a busy program says nothing; bounded, so that no record makes an estimate absurd.
    """
    factors = [factor for record in records if (factor := _factor(record)) is not None]
    if len(factors) < ENOUGH_LOADS:
        return leave_uncorrected
    middle = median(factors)
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


def compute_errors(records: Sequence[FitRecord]) -> tuple[float, ...]:
    """How far off each estimate was, as a share of what was measured."""
    return tuple(record.error for record in records)


def _factor(record: FitRecord) -> float | None:
    """None where the measurement contradicts what is counted exactly."""
    parts = record.predicted
    estimated = parts.compute + parts.vocabulary + parts.overhead
    exact = parts.loaded - estimated
    if estimated <= 0:
        return None
    factor = (record.measured - exact) / estimated
    return factor if 1 / MOST_FACTOR <= factor <= MOST_FACTOR else None
