"""What a model's requests have written, for guessing at what later ones write: a file that is written once more, an
answer that begins as all of them do."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct

from core.decoding.runs import RUN_TOKENS, RunIndex

POOL_TOKENS = 65_536
"""That are kept for one model, in up to 15 MB: most of it is for finding runs again."""
LEAST_COST_TOKENS = 64
"""What a short text counts as: it has an entry of its own, and its owner may have no other."""
BREAK_INTEGER = -1
"""Stands between two texts; no token."""


class PooledRun(Struct, frozen=True):
    """A run that stands in the pool: in the text of that number, where it ended in front of `end`."""

    text: int
    end: int
    length: int
    """Tokens that agree."""


class TextPool:
    """Texts by their owners, who never see one another's. Those that were written or used longest ago leave first,
    whoever owns them. Belongs to one thread."""

    def __init__(self, most: int = POOL_TOKENS) -> None:
        """`most`: tokens, short texts counted as LEAST_COST_TOKENS."""
        self._most = most
        self._shelves: dict[str, _Shelf] = {}
        self._owners: OrderedDict[int, str] = OrderedDict()
        """By the text's number, those used longest ago first."""
        self._behind: dict[str, None] = {}
        """Owners of texts that are not learned yet, in the order in which they wrote them."""
        self._next = 0
        self._held = 0

    @property
    def held(self) -> int:
        """Tokens, counted as the bound counts them."""
        return self._held

    def add(self, owner: str, tokens: Sequence[int]) -> None:
        """Keep a text, and drop others for it; runs in it are found once it is learned. One that is there already
        becomes the latest; of one that is longer than the pool, the end is kept."""
        text = array("i", tokens[-self._most :])
        shelf = self._shelves.get(owner)
        known = shelf.number(text) if shelf is not None else None
        if known is not None:
            self._owners.move_to_end(known)
        if known is not None or len(text) <= RUN_TOKENS or _cost(len(text)) > self._most:
            return
        while self._held + _cost(len(text)) > self._most:
            self._drop(next(iter(self._owners)))
        self._shelves.setdefault(owner, _Shelf()).add(self._next, text)
        self._owners[self._next] = owner
        self._behind[owner] = None
        self._next += 1
        self._held += _cost(len(text))

    def learn(self, most: int) -> int:
        """Learn the next tokens of the texts, at most so many; returns how many there were."""
        learned = 0
        while self._behind and learned < most:
            owner = next(iter(self._behind))
            shelf = self._shelves[owner]
            learned += shelf.learn(most - learned)
            if not shelf.behind:
                del self._behind[owner]
        return learned

    def find(self, owner: str, tail: Sequence[int], near: PooledRun | None = None) -> PooledRun | None:
        """The longest run at the end of `tail` that the owner's texts hold, as far as they are learned, with a token
        behind it; of runs alike the one soonest behind `near`, else the latest."""
        shelf = self._shelves.get(owner)
        return shelf.find(tail, near) if shelf is not None else None

    def follow(self, run: PooledRun, most: int) -> list[int]:
        """What stands behind the run, at most so many tokens; none where its text was dropped."""
        owner = self._owners.get(run.text)
        return self._shelves[owner].follow(run, most) if owner is not None else []

    def touch(self, run: PooledRun) -> None:
        """The text was of use: it leaves later."""
        if run.text in self._owners:
            self._owners.move_to_end(run.text)

    def _drop(self, number: int) -> None:
        owner = self._owners.pop(number)
        shelf = self._shelves[owner]
        self._held -= _cost(shelf.remove(number))
        if shelf.behind:
            self._behind[owner] = None
        if shelf.empty:
            del self._shelves[owner]
            self._behind.pop(owner, None)


class _Shelf:
    """The texts of one owner, one behind the other in a log."""

    def __init__(self) -> None:
        self._spans: dict[int, tuple[int, int]] = {}
        """Where each text begins and ends in the log."""
        self._numbers: dict[bytes, int] = {}
        """By content."""
        self._log = array("i")
        """Texts that were dropped are blank in it."""
        self._whose = array("i")
        """For each token of the log, the index of its text in `_order`."""
        self._order: list[int] = []
        self._index = RunIndex()
        self._blank = 0

    @property
    def empty(self) -> bool:
        return not self._spans

    @property
    def behind(self) -> int:
        """Tokens of the log that are not learned yet."""
        return len(self._log) - self._index.learned

    def learn(self, most: int) -> int:
        """Learn the next tokens of the log, at most so many; returns how many there were."""
        count = min(most, self.behind)
        self._index.learn(self._log, self._index.learned + count)
        return count

    def number(self, text: array[int]) -> int | None:
        return self._numbers.get(_digest(text))

    def add(self, number: int, text: array[int]) -> None:
        self._numbers[_digest(text)] = number
        self._append(number, text)

    def remove(self, number: int) -> int:
        """Returns its tokens' number."""
        begin, end = self._spans.pop(number)
        del self._numbers[_digest(self._log[begin:end])]
        self._log[begin:end] = array("i", [BREAK_INTEGER]) * (end - begin)
        self._blank += end - begin
        if self._blank > len(self._log) // 2:
            self._rebuild()
        return end - begin

    def find(self, tail: Sequence[int], near: PooledRun | None) -> PooledRun | None:
        span = self._spans.get(near.text) if near is not None else None
        after = span[0] + near.end if near is not None and span is not None else -1
        found = self._index.find(self._log, tail, after)
        if found is None:
            return None
        number = self._order[self._whose[found.end]]
        return PooledRun(number, found.end - self._spans[number][0], found.length)

    def follow(self, run: PooledRun, most: int) -> list[int]:
        begin, end = self._spans[run.text]
        at = begin + run.end
        return self._log[at : min(end, at + most)].tolist()

    def _append(self, number: int, text: array[int]) -> None:
        begin = len(self._log)
        self._spans[number] = (begin, begin + len(text))
        self._log.extend(text)
        self._log.append(BREAK_INTEGER)
        self._whose.extend(array("i", [len(self._order)]) * (len(text) + 1))
        self._order.append(number)

    def _rebuild(self) -> None:
        """Without the blanks. All is learned anew then, in parts: at once it would hold up streams."""
        texts = {number: self._log[begin:end] for number, (begin, end) in self._spans.items()}
        self._spans, self._log, self._whose, self._order = {}, array("i"), array("i"), []
        self._index, self._blank = RunIndex(), 0
        for number, text in texts.items():
            self._append(number, text)


def _digest(text: array[int]) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()


def _cost(tokens: int) -> int:
    return max(tokens, LEAST_COST_TOKENS)
