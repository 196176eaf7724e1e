"""What is stored of each model for each tenant, found by its tokens, wherever the states lie."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from core.cache.container import PrefixHeader
from core.cache.identity import ModelIdentity
from core.cache.prefix import RadixIndex, Tokens
from core.reuse import Tier

MOST_CHECKPOINTS = 8
"""Of one conversation, where states cannot be cut: the latest ones."""


class StoredPrefix:
    """A prefix in memory, on disk, or both."""

    __slots__ = ("cuts", "fetched", "header", "path", "replaces", "size", "state", "tokens")

    def __init__(self, header: PrefixHeader, tokens: Tokens, size: int) -> None:
        self.header = header
        self.tokens = tokens
        self.size = size
        """Bytes of the state."""
        self.cuts: list[StoredCut] = []
        """What stands for it in the index: itself as a whole, or each length at which it can be cut."""
        self.state: bytes | None = None
        """None while it is on disk alone."""
        self.path: Path | None = None
        """None while it is in memory alone."""
        self.replaces: list[Path] = []
        """Files that are deleted once this prefix is on disk."""
        self.fetched: float | None = None
        """When the state was read from disk for a request that has not taken it yet."""

    @property
    def tier(self) -> Tier:
        return Tier.MEMORY if self.state is not None and self.fetched is None else Tier.DISK


class StoredCut:
    """The first `length` tokens of an entry."""

    __slots__ = ("entry", "length")

    def __init__(self, entry: StoredPrefix, length: int) -> None:
        self.entry = entry
        self.length = length


class StoredMatch(Struct, frozen=True):
    """`entry` begins with the first `length` tokens of what was looked up."""

    entry: StoredPrefix
    length: int


class PrefixIndex:
    """Not safe to share between threads."""

    def __init__(self) -> None:
        self._partitions: dict[tuple[str, str], RadixIndex[StoredCut]] = {}
        """By the digest of a model's identity and the owner, neither of which sees what is another's."""

    def match(self, identity: ModelIdentity, owner: str, tokens: Tokens) -> StoredMatch | None:
        """The entry that shares most with `tokens`. One that cannot be cut counts only where `tokens` begin with all of
        it."""
        index = self._partitions.get((identity.digest, owner))
        if index is None:
            return None
        found = index.match(tokens)
        if found is not None and found.entry.entry.header.cuts is None:
            return StoredMatch(found.entry.entry, found.length)
        whole = index.longest_within(tokens)
        return None if whole is None else StoredMatch(whole.entry, whole.length)

    def enter(self, made: StoredPrefix) -> list[StoredPrefix] | None:
        """Add an entry. Returns those that it supersedes; None, and nothing is done, where all that it
        says is there already."""
        header, tokens = made.header, made.tokens
        index = self._partitions.setdefault((header.identity.digest, header.owner), RadixIndex())
        if header.cuts is None:
            made.cuts = [StoredCut(made, len(tokens))]
            if not index.insert(tokens, made.cuts[0]):
                return None
            return [cut.entry for cut in index.superseded(made.cuts[0])]
        there = {length: index.longest_within(tokens[:length]) for length in header.cuts}
        known = {length: cut for length, cut in there.items() if cut is not None and cut.length == length}
        if len(known) == len(header.cuts):
            return None
        for cut in known.values():
            index.remove(cut)
            cut.entry.cuts.remove(cut)
        for length in header.cuts:
            made.cuts.append(StoredCut(made, length))
            index.insert_exact(tokens[:length], made.cuts[-1])
        # The conversation went on from what it shares with this one: the end alone is not worth a whole state.
        left = [
            cut.entry for cut in known.values() if all(each.length == len(cut.entry.tokens) for each in cut.entry.cuts)
        ]
        before = [cut.entry for cut in index.superseded(made.cuts[-1]) if cut.entry is not made]
        return list(dict.fromkeys([*left, *list(dict.fromkeys(before))[MOST_CHECKPOINTS:]]))

    def forget(self, entry: StoredPrefix) -> None:
        """Safe to call for one that is not here."""
        partition = entry.header.identity.digest, entry.header.owner
        index = self._partitions.get(partition)
        if index is None:
            return
        for cut in entry.cuts:
            index.remove(cut)
        entry.cuts.clear()
        if not index:
            del self._partitions[partition]
