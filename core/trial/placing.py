"""Placements that hold: a child process loads the model as it is to be served, with less on the devices each time until
all of it has room, and serving loads what was seen to load.

A plan is arithmetic on what was free a moment ago, and no driver tells all that it takes; a load that fails tells the
truth without harm to what is served.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Available, Engine
from core.contract.options import LoadOptions
from core.contract.placement import HOST, DeviceTaken, Placement
from core.errors import EngineFailed, LoadFailed, MemoryShort
from core.hardware import describe_machine
from core.kept import keep_value, load_kept
from core.models.formats.detect import find_newest_write, mark_artifact
from core.telemetry.log import get_logger
from core.trial.child_process import run_child
from core.trial.placing_child import PlacementFailed, PlacementHeld, PlacingLine, PlacingRequest
from core.trial.verdict import UNTOLD

LINES: Final[msgspec.json.Decoder[PlacingLine]] = msgspec.json.Decoder(PlacingLine)
MOST_TRIALS: Final = 4
FIRST_DIVISOR: Final = 16
"""The part of a model's blocks, 1 / FIRST_DIVISOR, that leaves the devices first; then twice as many each time."""
ROOM_BITS: Final = 28
"""Memory for the KV cache that differs by less than 2 ** ROOM_BITS bytes or so is the same to a verdict."""
UNPLACED: Final = ("memory", "device_memory", "kv_room", "threads", "batch_threads", *UNTOLD)
"""Options that do not change what a placement takes."""
LACKING: Final = ("out of memory", "outofdevicememory", "failed to allocate", "unable to allocate")
"""What the last words of a child have, in small letters, that died for want of memory."""
log = get_logger(__name__)


class PlacementFailure(Struct, frozen=True):
    """A placement that did not hold, and why, in a sentence."""

    placement: Placement
    how: str


class PlacementVerdict(Struct, frozen=True):
    """What was seen to load."""

    placement: Placement
    taken: tuple[DeviceTaken, ...]
    """By device, the host first."""
    kv_room: int | None = None
    """As the options had it: contexts and slots that were not asked for follow from it."""
    failures: tuple[PlacementFailure, ...] = ()
    """Those that were tried before."""

    def has_room(self, free: Mapping[str, int]) -> bool:
        """Whether as much is free on its devices now, in bytes by their ids."""
        return all(each.bytes <= free.get(each.device, 0) for each in self.taken if each.device != HOST)


class ModelExtent(Struct, frozen=True):
    """What of a model can leave devices."""

    blocks: int
    experts: int = 0
    """So many of the blocks have experts."""


class PlacementTrials:
    """Finds verdicts and keeps them, one file each. `verify` blocks: call it on a worker thread."""

    def __init__(self, folder: Path, timeout: float) -> None:
        """`timeout`: seconds that a child may be silent."""
        self._folder = folder
        self._timeout = timeout

    def verify(
        self,
        engine: Engine,
        location: str,
        artifact: Artifact,
        options: LoadOptions,
        extent: ModelExtent,
        free: Mapping[str, int],
        stop: threading.Event,
        *,
        fixed: bool = False,
        fresh: bool = False,
    ) -> PlacementVerdict:
        """The placement of the options where that holds, else one with less on the devices; `fixed`: that one alone.
        A verdict of before is taken where its devices have room, `free`, in bytes by their ids.

        Raises MemoryShort where none holds for want of memory, LoadFailed or EngineFailed for another reason, Cancelled
        on `stop`.
        """
        planned = options.placement or Placement()
        path = self._path(engine, artifact, options)
        kept = None if fresh else load_kept(path, PlacementVerdict)
        if kept is not None and kept.has_room(free):
            return kept
        pending = [planned] if fixed else list_lighter(planned, extent)
        bare = replace(options, placement=None, **dict.fromkeys(UNTOLD))
        failures: list[PlacementFailure] = []
        for _ in range(MOST_TRIALS):
            request = PlacingRequest(location, artifact, bare, tuple(pending))
            outcome = run_child("core.trial.placing_child", request, LINES, self._timeout, stop)
            declined = [line for line in outcome.lines if isinstance(line, PlacementFailed)]
            failures += [PlacementFailure(pending[line.index], line.reason) for line in declined]
            for line in outcome.lines:
                if isinstance(line, PlacementHeld):
                    verdict = PlacementVerdict(pending[line.index], line.taken, options.kv_room, tuple(failures))
                    self._tell(engine, artifact, verdict)
                    keep_value(path, verdict)
                    return verdict
            if outcome.trouble is None:
                raise self._explain(artifact, declined)
            reached = len(outcome.lines)
            failures.append(PlacementFailure(pending[min(reached, len(pending) - 1)], outcome.trouble))
            log.warning("a placement failed", engine=engine.name, model=artifact.name, how=outcome.trouble)
            lacked = any(word in outcome.trouble.lower() for word in LACKING)
            # What is wrong with a device besides its memory is not mended by fewer layers.
            pending = pending[reached + 1 :] if lacked else [each for each in pending[reached + 1 :] if each.on_host]
            if not pending:
                break
        raise EngineFailed(
            f"The {engine.name} engine cannot run {artifact.name} where it was to lie: in a trial run it "
            f"{failures[-1].how}. Give it fewer layers (--gpu-layers), or none."
        )

    def _explain(self, artifact: Artifact, declined: list[PlacementFailed]) -> LoadFailed:
        if not declined:
            return LoadFailed(artifact.name, f"A trial run of {artifact.name} ended without a result.")
        last = declined[-1]
        return (
            MemoryShort(artifact.name, last.reason, last.device)
            if last.short
            else LoadFailed(artifact.name, last.reason)
        )

    def _tell(self, engine: Engine, artifact: Artifact, verdict: PlacementVerdict) -> None:
        taken = {each.device or "host": each.bytes for each in verdict.taken}
        log.info("a placement holds", engine=engine.name, model=artifact.name, tried=len(verdict.failures), **taken)

    def _path(self, engine: Engine, artifact: Artifact, options: LoadOptions) -> Path:
        availability = engine.availability()
        version = availability.version if isinstance(availability, Available) else "unknown"
        model = (mark_artifact(artifact), str(find_newest_write(artifact.path)))
        asked = (f"{name} {getattr(options, name)}" for name in options.__struct_fields__ if name not in UNPLACED)
        room = "" if options.kv_room is None else str(options.kv_room >> ROOM_BITS)
        subject = ("placed", engine.name, version, describe_machine().fingerprint, *model, room, *asked)
        digest = hashlib.sha256(os.fsencode("\n".join(subject))).hexdigest()[:24]
        return self._folder / f"{engine.name}-{digest}.json"


def list_lighter(planned: Placement, extent: ModelExtent) -> list[Placement]:
    """A placement and others that take less and less of its devices, down to none."""
    found = [planned]
    amount = max(1, extent.blocks // FIRST_DIVISOR)
    while (lighter := found[-1].lightened(extent.blocks, extent.experts, amount)) is not None:
        found.append(lighter)
        amount *= 2
    return found
