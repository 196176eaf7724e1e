"""Ten thousand conversations: how long the list, a search, opening one and keeping a question take."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core.conversations.store import ConversationStore
from core.conversations.tree import AnswerWriter, ConversationTree, Outcome, make_id
from tests.bench.report import table

CONVERSATIONS = 10_000
TURNS = 6
"""Of each conversation but the long one, on the average."""
LONG_TURNS = 1_000
WORDS = 120
"""Of an answer."""
WRITER = AnswerWriter("guide", "F16", "llamacpp")


def run(rounds: int) -> str:
    """A table of medians and worst cases over `rounds`, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = ConversationStore(Path(folder))
        began = time.perf_counter()
        long = _fill(store)
        filled = time.perf_counter() - began
        store.close()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        rows = _measure(folder, long, rounds)
    heading = f"{CONVERSATIONS:,} conversations, {size / 1e6:.0f} MB, made in {filled:.0f} s"
    return table(heading, ("what", "median ms", "worst ms", "found"), rows)


def _measure(folder: str, long: str, rounds: int) -> list[tuple[str, ...]]:
    store = ConversationStore(Path(folder))
    some = [line.id for line in store.list_lines()][:: CONVERSATIONS // 50]
    cases: list[tuple[str, Callable[[], int]]] = [
        ("list all", lambda: len(store.list_lines())),
        ("open one", lambda: len(_read(store, some[0]).turns)),
        (f"open one of {LONG_TURNS:,} turns", lambda: len(_read(store, long).turns)),
        *((f"search {query!r}", _searcher(store, query)) for query in QUERIES),
        ("see whether another program wrote", lambda: int(store.has_moved())),
    ]
    rows: list[tuple[str, ...]] = []
    for name, act in cases:
        took: list[float] = []
        found = 0
        for _ in range(rounds):
            began = time.perf_counter()
            found = act()
            took.append((time.perf_counter() - began) * 1e3)
        rows.append((name, f"{statistics.median(took):.2f}", f"{max(took):.2f}", f"{found:,}"))
    store.close()
    return rows


SYLLABLES = ("ka", "to", "mi", "re", "su", "no", "li", "va", "en", "or", "at", "is", "um", "de", "pra", "ste", "lon")


def _spell(number: int) -> str:
    """A word of its own for each number, the short ones first."""
    word = ""
    while number >= 0:
        number, which = divmod(number, len(SYLLABLES))
        word += SYLLABLES[which]
        number -= 1
    return word


QUERIES = (
    *("ka", "to mi re", "su no lium", "orno", "isisde", "to", "tok", "toka", "nowhere", '"miko" (to'),
    *(_spell(19_000), f"{_spell(12)} {_spell(4_500)}"),
)
"""As one types: common words and rare ones, whole and begun."""


def _searcher(store: ConversationStore, query: str) -> Callable[[], int]:
    return lambda: len(store.search(query))


def _read(store: ConversationStore, conversation: str) -> ConversationTree:
    tree = store.read(conversation)
    assert tree is not None
    return tree


def _fill(store: ConversationStore) -> str:
    """The id of the long one. Words are as frequent as those of a language: the n-th one by its n-th part."""
    draw = random.Random(1)
    vocabulary = [_spell(number) for number in range(20_000)]
    weights = [1 / (number + 1) for number in range(len(vocabulary))]
    words = draw.choices(vocabulary, weights, k=1_000_000)
    now, long = time.time(), ""
    for number in range(CONVERSATIONS):
        tree = ConversationTree(make_id())
        turns = LONG_TURNS if number == CONVERSATIONS // 2 else draw.randint(1, 2 * TURNS - 1)
        for turn in range(turns):
            start = draw.randrange(len(words) - WORDS - 12)
            answer = tree.ask(" ".join(words[start : start + 12]), now + number + turn / 1e4, WRITER).answers[0]
            answer.pieces.append(" ".join(words[start + 12 : start + 12 + WORDS]))
            answer.outcome = Outcome.DONE
        store.begin(tree).keep()
        if turns == LONG_TURNS:
            long = tree.id
        if number % 200 == 0:
            while not store.flush():
                pass
    while not store.flush():
        pass
    return long
