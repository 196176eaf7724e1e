"""Where a model that is to be loaded will lie: planned for what is free now, and verified in a child process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from core.contract.abilities import Places
from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.options import LoadOptions
from core.contract.placement import HOST
from core.devices.device import Device, DeviceKind
from core.devices.listing import list_devices
from core.errors import ArtifactError, LoadFailed, UsageError
from core.hardware import describe_machine
from core.models.fit.adapters import measure_adapters
from core.models.fit.placing import Companions
from core.models.fit.plan import Correction, LoadPlan, leave_uncorrected, list_limited, list_reachable
from core.models.fit.plan_words import describe_plan
from core.models.fit.setup import plan_load
from core.models.fit.wish import read_wish
from core.models.formats.header import Header
from core.models.formats.read import read_header
from core.trial.choose_engine import Candidate
from core.trial.placing import ModelExtent, PlacementTrials, PlacementVerdict


class PlannedLoad(Struct, frozen=True):
    """Options with a placement, and the plan that it is from; None where nothing could be planned."""

    options: LoadOptions
    plan: LoadPlan | None = None

    @property
    def uses_devices(self) -> bool:
        return self.options.placement is not None and not self.options.placement.on_host

    @property
    def chose_devices(self) -> bool:
        """Whether devices take a part in it, and nobody has said which."""
        if not self.uses_devices or self.plan is None:
            return False
        wish = self.plan.wish
        return wish.gpu_layers is None and all(rule.device == HOST for rule in wish.rules)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it: nothing, where there is no choice."""
        if self.plan is None:
            return ()
        if not (self.uses_devices or self.plan.whole):
            told = "No accelerator is here, so the layers that were asked for stay in main memory."
            return (told,) if self.plan.wish.gpu_layers else ()
        asked, there = self.options.gpu_layers, self.plan.layers
        if not isinstance(asked, int) or asked <= there:
            return (describe_plan(self.plan),)
        more = (
            f"{asked} layers were asked for; with the output counted as one the model has {there}, and all are taken."
        )
        return (more, describe_plan(self.plan))


def _leave_uncorrected(_: Header) -> Correction:
    return leave_uncorrected


def plan_options(
    engine: Engine,
    artifact: Artifact,
    options: LoadOptions,
    draft: Artifact | None = None,
    correct: Callable[[Header], Correction] = _leave_uncorrected,
) -> PlannedLoad:
    """Plan where a model lies with these options, for the devices as they are now. `draft`: a model that is loaded
    beside it to guess ahead; `correct`: what earlier loads have taught. Blocks. Raises LoadFailed for a wish that
    cannot be met here."""
    if not isinstance(engine, Places):
        return PlannedLoad(options)
    try:
        header = read_header(artifact)
    except ArtifactError:
        # Loading says what is wrong with it.
        return PlannedLoad(options)
    limits = dict(options.device_memory) | ({} if options.memory is None else {HOST: options.memory})
    reached = list_reachable(list_devices(), options.rpc)
    if options.gpu_layers != 0 and not all(_lends(server, reached) for server in options.rpc or ()):
        # The engine says why, and would say nothing where no part of the model is to lie there.
        engine.measure_free(options)
        raise LoadFailed(
            artifact.name, f"An RPC server did not answer a moment ago; load {artifact.name} again in some seconds."
        )
    devices = list_limited(reached, limits)
    features = describe_machine().features
    companions = Companions(_read_draft(draft), measure_adapters(options))
    try:
        wish = read_wish(options)
        plan = plan_load(header, options, devices, features, wish, companions=companions, correct=correct(header))
    except UsageError as error:
        raise LoadFailed(artifact.name, str(error)) from error
    # What lies with the host is sized when its weights are there.
    kv_room = plan.kv_room if plan.placed and plan.placement.kv_offload else None
    return PlannedLoad(replace(options, placement=plan.placement, kv_room=kv_room), plan)


def _read_draft(draft: Artifact | None) -> Header | None:
    """None where it tells nothing, as of a model without weights."""
    try:
        return None if draft is None else read_header(draft)
    except ArtifactError:
        return None


def verify_plan(
    trials: PlacementTrials,
    candidate: Candidate,
    planned: PlannedLoad,
    options: LoadOptions,
    stop: threading.Event,
    *,
    fresh: bool = False,
) -> PlacementVerdict:
    """What of a plan holds with these options. Blocks. Raises as `PlacementTrials.verify`."""
    assert planned.plan is not None
    extent = ModelExtent(planned.plan.layers - 1, planned.plan.experts)
    return trials.verify(
        candidate.engine,
        candidate.location,
        candidate.artifact,
        options,
        extent,
        _measure_free(options),
        stop,
        fixed=options.gpu_layers is not None and planned.plan.wish.gpu_layers is not None,
        fresh=fresh,
    )


def describe_correction(planned: PlannedLoad, verdict: PlacementVerdict) -> tuple[str, ...]:
    """A sentence where less lies on devices than was planned."""
    plan, placement = planned.plan, verdict.placement
    if plan is None or placement == plan.placement or not verdict.failures:
        return ()
    layers = placement.count_layers(plan.layers - 1)
    experts = f", the experts of {placement.expert_layers} in main memory" if placement.expert_layers else ""
    now = f"{layers} of {plan.layers} layers lie on devices now{experts}"
    why = verdict.failures[0].how.rstrip(".")
    return (f"In a trial run its plan did not hold, so {now}: {why}. --rebench tries it again.",)


def has_other_memory(one: LoadOptions, other: LoadOptions) -> bool:
    """Whether more than threads differs."""
    return replace(one, threads=None, batch_threads=None) != replace(other, threads=None, batch_threads=None)


def _lends(server: str, devices: Sequence[Device]) -> bool:
    """Whether one of the devices is an RPC server's."""
    return any(device.kind is DeviceKind.REMOTE for device in list_reachable(devices, (server,)))


def _measure_free(options: LoadOptions) -> Mapping[str, int]:
    return {device.id: device.free for device in list_reachable(list_devices(), options.rpc)}
