"""The stored prefixes of one model, as its serving loop sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from core.cache.container import PrefixHeader
from core.cache.identity import ModelIdentity
from core.cache.prefix import Tokens
from core.cache.prefix_index import StoredMatch, StoredPrefix
from core.cache.recall import Asked, Outline
from core.cache.store import PrefixStore
from core.reuse import Reuse


class ModelPrefixes:
    """The store as the loop of one model sees it."""

    def __init__(self, store: PrefixStore, identity: ModelIdentity, model: str) -> None:
        """Reads files, as `PrefixStore.load` does. `model` is the name that the model is served by."""
        self._store = store
        self._identity = identity
        self._model = model
        self._recall = store.load(identity)

    @property
    def keeps(self) -> bool:
        """As `PrefixStore.keeps`."""
        return self._store.keeps

    def match(self, owner: str, tokens: Tokens) -> StoredMatch | None:
        """As `PrefixStore.match`."""
        return self._store.match(self._identity, owner, tokens)

    def put(self, owner: str, tokens: Tokens, state: bytes, outline: Outline, cuts: tuple[int, ...] | None) -> None:
        """As `PrefixStore.put`."""
        words = msgspec.json.encode(outline).decode()
        header = PrefixHeader(self._identity, owner, self._model, cuts, words)
        self._store.put(header, tokens, state)

    def fetch(self, entry: StoredPrefix, ready: Callable[[], None]) -> None:
        """As `PrefixStore.fetch`."""
        self._store.fetch(entry, ready)

    def take(self, entry: StoredPrefix) -> bytes | None:
        """As `PrefixStore.take`."""
        return self._store.take(entry)

    def discard(self, entry: StoredPrefix, why: str) -> None:
        """As `PrefixStore.discard`."""
        self._store.discard(entry, why)

    def hurry(self) -> None:
        """As `PrefixStore.hurry`."""
        self._store.hurry()

    def remember(self, owner: str, tokens: Tokens, prompt: int, outline: Outline) -> None:
        """As `Recall.remember`."""
        with self._store.locked():
            self._recall.remember((self._identity, owner), tokens, prompt, outline)

    def note_gone(self, owner: str, tokens: Tokens, why: str) -> None:
        """As `Recall.note_gone`."""
        with self._store.locked():
            self._recall.note_gone((self._identity, owner), tokens, why)

    def explain(self, owner: str, asked: Asked, words: Callable[[Sequence[int]], str]) -> Reuse:
        """As `Recall.explain`."""
        with self._store.locked():
            return self._recall.explain((self._identity, owner), asked, words)
