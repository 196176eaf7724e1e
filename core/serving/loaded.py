"""A model as its loader hands it over to the host that serves it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping

from msgspec import Struct

from core.cache.identity import ModelIdentity
from core.chat.parsers.response_schema import ResponseSchema
from core.contract.models import Model
from core.contract.placement import HOST, DeviceBuffers
from core.decoding.speculate import Proposer


class LoadedModel(Struct, eq=False):
    """A model with what a user should know about how it came to run this way."""

    model: Model
    engine: str
    notes: tuple[str, ...] = ()
    proposer: Proposer | None = None
    """What guesses what a model that decodes step by step will write; freed with the model."""
    identity: ModelIdentity | None = None
    """Whose its states are; None for a model whose states cannot be kept."""
    schema: ResponseSchema | None = None
    """What its answers are read by in place of its family's way."""
    draft_buffers: tuple[DeviceBuffers, ...] = ()
    """What a model that drafts for it has of each device."""

    @property
    def promised(self) -> int:
        """Bytes of main memory that the model and its draft model take once their contexts are full; zero for a script,
        which has no weights."""
        spec = self.model.spec
        own = spec.weight_bytes + spec.cells * spec.kv_bytes_per_token if spec.weight_bytes else 0
        if any(each.device != HOST for each in spec.buffers):
            own = sum(each.total for each in spec.buffers if each.device == HOST)
        if any(each.device != HOST for each in self.draft_buffers):
            return own + sum(each.total for each in self.draft_buffers if each.device == HOST)
        return own + (self.proposer.promised if self.proposer is not None else 0)

    @property
    def elsewhere(self) -> Mapping[str, int]:
        """Bytes of accelerators that it and its draft model have, by their ids; none where its engine does not tell."""
        sums: Counter[str] = Counter()
        for each in (*self.model.spec.buffers, *self.draft_buffers):
            if each.device != HOST and each.total:
                sums[each.device] += each.total
        return sums

    def shutdown(self) -> None:
        try:
            self.model.shutdown()
        finally:
            if self.proposer is not None:
                self.proposer.shutdown()


Loader = Callable[[threading.Event, Callable[[str], None]], LoadedModel]
"""Loads on the calling thread; gives up when the event is set; tells its progress in a few words."""
