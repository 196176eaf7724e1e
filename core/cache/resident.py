"""The first tier of the prefix cache: sequences that finished and stay in the model's KV cache.

A sequence is worth what computing it anew would cost, and that is what may be computed of others before it is worth no
more than an empty one (GreedyDual, with tokens for the cost). So a title or a check of a quota, which a client asks for
beside its conversation, makes room before the conversation does.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import takewhile

from core.cache.prefix import Match, RadixIndex, Tokens
from core.contract.step import SequenceId


class Residents:
    """Which finished sequences are kept, by owner. Decides; closing sequences is the caller's."""

    def __init__(self) -> None:
        self._indexes: dict[str, RadixIndex[SequenceId]] = {}
        self._owners: OrderedDict[SequenceId, str] = OrderedDict()
        self._used: dict[SequenceId, int] = {}
        """When each was of use last."""
        self._lengths: dict[SequenceId, int] = {}
        self._settled: set[SequenceId] = set()
        """Those that stay however idle they are, until they are of use again."""
        self._now = 0
        """Tokens that were computed so far, of all sequences."""

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, sequence: SequenceId) -> bool:
        return sequence in self._owners

    def match(self, owner: str, tokens: Tokens) -> Match[SequenceId] | None:
        """The owner's resident that shares the longest prefix, which becomes the warmest."""
        index = self._indexes.get(owner)
        found = index.match(tokens) if index else None
        if found is not None:
            self.touch(found.entry)
        return found

    def touch(self, sequence: SequenceId) -> None:
        """Make it the warmest."""
        self._owners.move_to_end(sequence)
        self._used[sequence] = self._now
        self._settled.discard(sequence)

    def settle(self, sequence: SequenceId) -> None:
        """Have `idle` tell of it no more until it is of use again."""
        self._settled.add(sequence)

    def age(self, tokens: int) -> None:
        """So many were computed, of other sequences."""
        self._now += tokens

    def idle(self, tokens: int) -> list[tuple[SequenceId, int]]:
        """Those that were of no use while at least so many tokens were computed, and while how many, coldest first."""
        ages = ((sequence, self._now - self._used[sequence]) for sequence in self._owners)
        return [each for each in takewhile(lambda each: each[1] >= tokens, ages) if each[0] not in self._settled]

    def keep(self, owner: str, tokens: Tokens, sequence: SequenceId) -> list[SequenceId]:
        """Make a sequence resident. Returns those to close: the ones it supersedes, or itself when it adds nothing."""
        index = self._indexes.setdefault(owner, RadixIndex())
        if not index.insert(tokens, sequence):
            self._discard_if_empty(owner)
            return [sequence]
        self._owners[sequence] = owner
        self._used[sequence] = self._now
        self._lengths[sequence] = len(tokens)
        superseded = index.superseded(sequence)
        for old in superseded:
            self.drop(old)
        return superseded

    def owner(self, sequence: SequenceId) -> str:
        return self._owners[sequence]

    def tokens(self, sequence: SequenceId) -> Tokens:
        return self._indexes[self._owners[sequence]].tokens(sequence)

    def choose_victim(self, spare: SequenceId | None = None) -> SequenceId | None:
        """The one that is worth least, of the others than `spare`; None where there is none."""
        others = (each for each in self._owners if each != spare)
        return min(others, key=lambda each: self._used[each] + self._lengths[each], default=None)

    def drop(self, sequence: SequenceId) -> None:
        owner = self._owners.pop(sequence)
        del self._used[sequence], self._lengths[sequence]
        self._settled.discard(sequence)
        self._indexes[owner].remove(sequence)
        self._discard_if_empty(owner)

    def _discard_if_empty(self, owner: str) -> None:
        if not self._indexes[owner]:
            del self._indexes[owner]
