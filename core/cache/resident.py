"""The first tier of the prefix cache: sequences that finished and stay in the model's KV cache."""

from __future__ import annotations

from collections import OrderedDict

from core.cache.prefix import Match, RadixIndex, Tokens
from core.contract.step import SequenceId


class Residents:
    """Which finished sequences are kept, by owner, coldest first. Decides; closing sequences is the caller's."""

    def __init__(self) -> None:
        self._indexes: dict[str, RadixIndex[SequenceId]] = {}
        self._owners: OrderedDict[SequenceId, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, sequence: SequenceId) -> bool:
        return sequence in self._owners

    def match(self, owner: str, tokens: Tokens) -> Match[SequenceId] | None:
        """The owner's resident that shares the longest prefix, which becomes the warmest."""
        index = self._indexes.get(owner)
        found = index.match(tokens) if index else None
        if found is not None:
            self._owners.move_to_end(found.entry)
        return found

    def keep(self, owner: str, tokens: Tokens, sequence: SequenceId) -> list[SequenceId]:
        """Make a sequence resident. Returns those to close: the ones it supersedes, or itself when it adds nothing."""
        index = self._indexes.setdefault(owner, RadixIndex())
        if not index.insert(tokens, sequence):
            self._discard_if_empty(owner)
            return [sequence]
        self._owners[sequence] = owner
        superseded = index.superseded(sequence)
        for old in superseded:
            self.drop(old)
        return superseded

    def owner(self, sequence: SequenceId) -> str:
        return self._owners[sequence]

    def tokens(self, sequence: SequenceId) -> Tokens:
        return self._indexes[self._owners[sequence]].tokens(sequence)

    def coldest(self) -> SequenceId | None:
        return next(iter(self._owners), None)

    def drop(self, sequence: SequenceId) -> None:
        owner = self._owners.pop(sequence)
        self._indexes[owner].remove(sequence)
        self._discard_if_empty(owner)

    def _discard_if_empty(self, owner: str) -> None:
        if not self._indexes[owner]:
            del self._indexes[owner]
