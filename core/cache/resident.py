"""The first tier of the prefix cache: sequences that finished and stay in the model's KV cache."""

from __future__ import annotations

from collections import OrderedDict

from core.cache.prefix import Match, RadixIndex, Tokens
from core.contract.step import SequenceId


class Residents:
    """Which finished sequences are kept, by tenant, coldest first. Decides; closing sequences is the caller's."""

    def __init__(self) -> None:
        self._indexes: dict[str, RadixIndex[SequenceId]] = {}
        self._tenants: OrderedDict[SequenceId, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tenants)

    def __contains__(self, sequence: SequenceId) -> bool:
        return sequence in self._tenants

    def match(self, tenant: str, tokens: Tokens) -> Match[SequenceId] | None:
        """The tenant's resident that shares the longest prefix, which becomes the warmest."""
        index = self._indexes.get(tenant)
        found = index.match(tokens) if index else None
        if found is not None:
            self._tenants.move_to_end(found.entry)
        return found

    def keep(self, tenant: str, tokens: Tokens, sequence: SequenceId) -> list[SequenceId]:
        """Make a sequence resident. Returns those to close: the ones it supersedes, or itself when it adds nothing."""
        index = self._indexes.setdefault(tenant, RadixIndex())
        if not index.insert(tokens, sequence):
            self._discard_if_empty(tenant)
            return [sequence]
        self._tenants[sequence] = tenant
        superseded = index.superseded(sequence)
        for old in superseded:
            self.drop(old)
        return superseded

    def coldest(self) -> SequenceId | None:
        return next(iter(self._tenants), None)

    def drop(self, sequence: SequenceId) -> None:
        tenant = self._tenants.pop(sequence)
        self._indexes[tenant].remove(sequence)
        self._discard_if_empty(tenant)

    def _discard_if_empty(self, tenant: str) -> None:
        if not self._indexes[tenant]:
            del self._indexes[tenant]
