"""What a pool's models are made with: their hosts, their loading, what they are likely to take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from core.cache.store import PrefixStore
from core.contract.options import LoadOptions
from core.contract.placement import HOST
from core.decoding.masks.trials import FormTrials
from core.devices.listing import list_devices
from core.errors import LoadFailed, ModelNotReady, attach_paths
from core.hardware import describe_machine
from core.lanes import WorkLanes
from core.models.store import Settled, Store
from core.requests import ReasoningWish
from core.serving.host import Host
from core.serving.loaded import LoadedModel, Loader
from core.serving.pool.eviction import Occupant
from core.serving.pool.limits import read_memory_limits
from core.serving.pool.loader import ModelLoader
from core.serving.pool.member import Member
from core.serving.pool.room import Expected
from core.settings.profile import Profile
from core.settings.schema import Settings
from core.supervision import Past, Witness


class ModelFactory:
    """Of one workbench."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        loader: ModelLoader,
        lanes: WorkLanes,
        trials: FormTrials,
        settled: Settled,
        prefixes: PrefixStore,
        *,
        past: Past,
        witness: Witness,
    ) -> None:
        """`settled`: what trial runs have made of an engine's options; `prefixes`: where computed prefixes are kept.
        `past` names the models that must not be loaded,
        and `witness` is told before and after each load, which may end the process."""
        self._settings = settings
        self._store = store
        self._loader = loader
        self._lanes = lanes
        self._trials = trials
        self._settled = settled
        self._prefixes = prefixes
        self.limits = read_memory_limits(settings.pool.memory_limit, describe_machine().memory)
        """What all models together may take of each memory."""
        self._past = past
        self._witness = witness

    def skip_measuring(self) -> None:
        """Let what was measured so far decide on the model that is being loaded."""
        self._loader.skip_measuring()

    def host(self, member: Member, loader: Loader) -> Host:
        """A host for the member, not started. On the event loop."""
        queue = self._settings.queue
        return Host(
            member.name,
            loader,
            max_queue=queue.max_queue,
            queue_timeout=queue.queue_timeout,
            prefill_share=queue.prefill_share,
            encoding=self._settings.encoding,
            slots=member.profile.slots or self._settings.model.slots,
            sampling=member.profile.sampling,
            answers=self._settings.answers,
            prompts=self._settings.prompts,
            reasoning=self._wish_reasoning(member.profile),
            variables=member.profile.chat_template_kwargs or {},
            lanes=self._lanes,
            store=self._prefixes,
            reuse=self._settings.cache.enabled,
            trials=self._trials,
        )

    def _wish_reasoning(self, profile: Profile) -> ReasoningWish:
        """How a model thinks for requests that do not say it."""
        common = self._settings.model
        budget = profile.reasoning_budget if profile.reasoning_budget is not None else common.reasoning_budget
        return ReasoningWish(
            effort=profile.reasoning_effort or common.reasoning_effort,
            budget=None if budget is None or budget < 0 else budget,
            message=profile.reasoning_message or common.reasoning_message or "",
        )

    def load(
        self,
        member: Member,
        stop: threading.Event,
        tell: Callable[[str], None],
        memory: int,
        elsewhere: Mapping[str, int],
    ) -> LoadedModel:
        """Load on the calling thread, within `memory` bytes of main memory and so many of accelerators. Raises as
        `ModelLoader.load`, and ModelNotReady for a model that ended an earlier process."""
        if why := self._past.refused.get(member.name):
            raise ModelNotReady(member.name, why)
        self._witness.loading(member.name)
        try:
            with attach_paths(*self.files(member)):
                return self._loader.load(member.artifact, stop, tell, member.profile, memory, elsewhere)
        finally:
            self._witness.loaded(member.name)

    def expect(self, member: Member, memory: int, others: Sequence[Occupant] = ()) -> Expected:
        """What a model is likely to take with the one that drafts for it, before it was ever loaded: each of `memory`
        bytes of main memory at most, and of accelerators what is free once those of the `others` are gone that may go.
        Reads headers. Raises LoadFailed for a limit of a device that is not here."""
        devices = list_devices()
        if problem := self.limits.find_unknown(devices):
            raise LoadFailed(member.name, problem)
        capacities = {
            device.id: min(self.limits.limit_device(device), device.free + _sum_held(others, device.id))
            for device in devices
            if device.is_accelerator
        }
        staying = [each for each in others if each.pinned]
        free = {memory: room - _sum_held(staying, memory) for memory, room in capacities.items()}
        there = tuple(replace(each, free=max(0, free.get(each.id, each.free))) for each in devices)
        with attach_paths(member.artifact.path):
            sizes = self._store.expect(member.artifact, member.profile, memory, self._settled, there)
        return Expected(sizes[HOST], {each: size for each, size in sizes.items() if each != HOST}, capacities)

    def files(self, member: Member) -> tuple[Path, ...]:
        """What errors about a model may name."""
        options = LoadOptions().overlaid_with(self._settings.model).overlaid_with(member.profile)
        named = [lora.path for lora in options.adapters]
        if draft := member.profile.draft or self._settings.model.draft:
            named += [draft, self._settings.source(draft)]
        return (member.artifact.path, *map(Path, named))


def _sum_held(occupants: Sequence[Occupant], memory: str) -> int:
    return sum(each.count_bytes(memory) for each in occupants)
