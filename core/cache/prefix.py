"""A radix index over tokens: of all entries, which shares the longest prefix with a prompt, at any token.

The index knows tokens and entries, nothing of where an entry's KV state lies, so every tier can stand on it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from msgspec import Struct

from core.decoding.common_prefix import count_common

Entry = TypeVar("Entry", bound=Hashable)
Tokens = tuple[int, ...]


class Match(Struct, Generic[Entry], frozen=True):
    """`entry` shares its first `length` tokens with what was looked up."""

    entry: Entry
    length: int


class _Node(Generic[Entry]):
    __slots__ = ("children", "edge", "entry", "parent")

    def __init__(self, edge: Tokens, parent: _Node[Entry] | None) -> None:
        self.edge = edge
        """Tokens from the parent to here."""
        self.parent = parent
        self.children: dict[int, _Node[Entry]] = {}
        self.entry: Entry | None = None


class RadixIndex(Generic[Entry]):
    """Entries by their tokens. Not safe to share between threads."""

    def __init__(self) -> None:
        self._root: _Node[Entry] = _Node((), None)
        self._nodes: dict[Entry, _Node[Entry]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, entry: Entry) -> bool:
        return entry in self._nodes

    def match(self, tokens: Tokens) -> Match[Entry] | None:
        """The entry with the longest common prefix; None when none shares a token."""
        node, length = self._root, 0
        while length < len(tokens):
            child = node.children.get(tokens[length])
            if child is None:
                break
            shared = count_common(child.edge, tokens[length : length + len(child.edge)])
            node, length = child, length + shared
            if shared < len(child.edge):
                break
        return Match(self._any_entry(node), length) if length else None

    def longest_within(self, tokens: Tokens) -> Entry | None:
        """The longest entry all of whose tokens `tokens` begins with; None when there is none."""
        node, length, best = self._root, 0, None
        while length < len(tokens):
            child = node.children.get(tokens[length])
            if child is None or child.edge != tokens[length : length + len(child.edge)]:
                break
            node, length = child, length + len(child.edge)
            best = best if node.entry is None else node.entry
        return best

    def insert(self, tokens: Tokens, entry: Entry) -> bool:
        """Add an entry. False, and nothing added, when an entry already holds all of `tokens` (or they are none)."""
        if entry in self._nodes:
            raise ValueError("the entry is in the index already")
        found = self.match(tokens)
        if not tokens or (found is not None and found.length == len(tokens)):
            return False
        self._put(tokens, entry)
        return True

    def insert_exact(self, tokens: Tokens, entry: Entry) -> bool:
        """Add an entry although a longer one may begin with its tokens. False, and nothing added, when an entry of
        exactly these tokens is there (or they are none)."""
        if entry in self._nodes:
            raise ValueError("the entry is in the index already")
        there = self.longest_within(tokens)
        if not tokens or (there is not None and len(self.tokens(there)) == len(tokens)):
            return False
        self._put(tokens, entry)
        return True

    def superseded(self, entry: Entry) -> list[Entry]:
        """Entries whose tokens are a proper prefix of this one's: it can stand in for them."""
        found = []
        node = self._nodes[entry].parent
        while node is not None:
            if node.entry is not None:
                found.append(node.entry)
            node = node.parent
        return found

    def tokens(self, entry: Entry) -> Tokens:
        runs: list[Tokens] = []
        node: _Node[Entry] | None = self._nodes[entry]
        while node is not None:
            runs.append(node.edge)
            node = node.parent
        return tuple(token for run in reversed(runs) for token in run)

    def remove(self, entry: Entry) -> None:
        """Raises KeyError when the entry is not in the index."""
        node = self._nodes.pop(entry)
        node.entry = None
        self._tidy(node)

    def entries(self) -> Iterator[Entry]:
        return iter(self._nodes)

    def _put(self, tokens: Tokens, entry: Entry) -> None:
        node, length = self._root, 0
        while length < len(tokens):
            child = node.children.get(tokens[length])
            if child is None:
                child = node.children[tokens[length]] = _Node(tokens[length:], node)
            shared = count_common(child.edge, tokens[length : length + len(child.edge)])
            node = child if shared == len(child.edge) else self._split(child, shared)
            length += shared
        node.entry = entry
        self._nodes[entry] = node

    def _any_entry(self, node: _Node[Entry]) -> Entry:
        while node.entry is None:
            node = next(iter(node.children.values()))
        return node.entry

    def _split(self, node: _Node[Entry], at: int) -> _Node[Entry]:
        """Put a new node in the middle of the edge to `node`; returns it."""
        parent = node.parent
        assert parent is not None
        upper: _Node[Entry] = _Node(node.edge[:at], parent)
        parent.children[node.edge[0]] = upper
        node.edge = node.edge[at:]
        node.parent = upper
        upper.children[node.edge[0]] = node
        return upper

    def _tidy(self, node: _Node[Entry]) -> None:
        """Drop what carries no entry and join an entryless node with its only child."""
        while node.parent is not None and node.entry is None and not node.children:
            del node.parent.children[node.edge[0]]
            node = node.parent
        if node.parent is not None and node.entry is None and len(node.children) == 1:
            (child,) = node.children.values()
            child.edge = node.edge + child.edge
            child.parent = node.parent
            node.parent.children[child.edge[0]] = child
