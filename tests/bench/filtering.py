"""How long the list of models takes to be searched, filtered and sorted at every key."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from core.models.catalog import Task
from core.models.hub.search import Found
from tests.bench.report import table
from tui.screens.models.rows import Item, Order, View, build_found_item, guess_verdict, pick_items

ROWS: Final = 10_000
TARGET: Final = 50.0
"""Milliseconds."""
FREE: Final = 16_000_000_000
VIEWS: Final = {
    "nothing typed": View(),
    "one letter": View("q"),
    "two words": View("qwen gguf"),
    "no match": View("zzzz"),
    "filters": View(task=Task.CHAT, format="gguf", most_parameters=8_000_000_000, open_only=True),
    "a word, by downloads": View("qwen", order=Order.DOWNLOADS),
    "all, by name": View(order=Order.NAME),
    "all, by fit": View(order=Order.FIT),
}


def run(rounds: int = 20) -> str:
    """Medians over `rounds`, over rows whose names are like those of the Hub."""
    made = items(ROWS)
    verdicts = {item.key: verdict for item in made if (verdict := guess_verdict(item, FREE)) is not None}
    rows = []
    for name, view in VIEWS.items():
        asked = partial(pick_items, made, view, verdicts=verdicts)
        rows.append((name, len(asked()), *_timed(asked, rounds)))
    title = f"{ROWS:,} models, at most {TARGET:.0f} ms a key"
    return table(title, ("what is asked for", "shown", "median ms", "slowest ms"), rows)


def items(count: int) -> list[Item]:
    """Models with the names of families, sizes and owners put together at random, the same each time."""
    draw = random.Random(1)
    return [build_found_item(_found(draw, number)) for number in range(count)]


def _found(draw: random.Random, number: int) -> Found:
    family = draw.choice(("Qwen3", "Llama-3.2", "gemma-3", "Mistral", "Phi-4", "SmolLM2", "DeepSeek-R1"))
    size = draw.choice((1, 2, 4, 8, 14, 32, 70))
    return Found(
        f"{draw.choice(('bartowski', 'unsloth', 'mlx-community', 'someone'))}/{family}-{size}B-{number}-GGUF",
        draw.choice(("text-generation", "feature-extraction", None)),
        (draw.choice(("gguf", "mlx")),),
        size * 1_000_000_000,
        draw.choice(("apache-2.0", "mit", None)),
        draw.randrange(1_000_000),
        draw.randrange(1_000),
        datetime.fromtimestamp(1_700_000_000 + draw.randrange(50_000_000), UTC),
        draw.random() < 0.1,
    )


def _timed(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    taken = []
    for _ in range(rounds):
        before = time.perf_counter()
        work()
        taken.append((time.perf_counter() - before) * 1000)
    return statistics.median(taken), max(taken)
