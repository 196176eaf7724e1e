"""What is said of each model, kept for whoever asks: lines of the log that name it, and what its engine says.

Engines say far more than a log should hold. Their words go to a logger of their own, which leads nowhere else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from msgspec import Struct

from core.foreign_text import make_printable
from core.telemetry.log import FIELDS

KEPT_LINES: Final = 500
"""Of each model."""
MOST_LINE_CHARACTERS: Final = 2_000
MOST_MODELS: Final = 256
"""Models whose lines are kept; of those that were silent for longest, they are not."""
SAID: Final = "benchtop.said"
"""The logger of what engines say."""

model_in_log: ContextVar[str] = ContextVar("model_in_log", default="")
"""The model that the running thread serves."""


class ModelLine(Struct, frozen=True):
    time: float
    """Unix time, seconds."""
    level: str
    model: str
    text: str
    """Fit for a terminal."""


def tell_said(text: str, level: int = logging.DEBUG) -> None:
    """Something that an engine says, to the log of the model that the running thread serves."""
    if model := model_in_log.get():
        logging.getLogger(SAID).log(level, "%s", text, extra={FIELDS: {"model": model}})


Follower = Callable[[ModelLine], None]


class ModelLogs(logging.Handler):
    """A handler of log records. Any thread may write, read and follow."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._lines: dict[str, deque[ModelLine]] = {}
        self._followers: tuple[Follower, ...] = ()
        self._guard = threading.Lock()

    def attach(self) -> None:
        """From now on the lines of the whole process are heard."""
        said = logging.getLogger(SAID)
        said.propagate = False
        said.setLevel(logging.DEBUG)
        said.addHandler(self)
        logging.getLogger().addHandler(self)

    def detach(self) -> None:
        logging.getLogger(SAID).removeHandler(self)
        logging.getLogger().removeHandler(self)

    def read_lines(self, model: str | None = None) -> list[ModelLine]:
        """What is kept of a model, or of all, the oldest first."""
        with self._guard:
            kept = [*self._lines.get(model, ())] if model is not None else [*_flatten(self._lines)]
        return kept if model is not None else sorted(kept, key=lambda line: line.time)

    @contextmanager
    def following(self, follow: Follower) -> Iterator[None]:
        """Inside, `follow` is told of each line, on the thread that writes it."""
        with self._guard:
            self._followers = (*self._followers, follow)
        try:
            yield
        finally:
            with self._guard:
                self._followers = tuple(each for each in self._followers if each is not follow)

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, FIELDS, None) or {}
        model = fields.get("model")
        if not isinstance(model, str) or not model:
            return
        told = " ".join(f"{name}={value}" for name, value in fields.items() if name != "model")
        text = f"{record.getMessage()} {told}".rstrip()
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {record.exc_info[1]!r}"
        printable = make_printable(text[:MOST_LINE_CHARACTERS])
        line = ModelLine(time.time(), record.levelname.lower(), model, printable)
        with self._guard:
            # The model that was spoken of last stands last.
            lines = self._lines.pop(model, None) or deque(maxlen=KEPT_LINES)
            lines.append(line)
            self._lines[model] = lines
            if len(self._lines) > MOST_MODELS:
                del self._lines[next(iter(self._lines))]
            followers = self._followers
        for follow in followers:
            follow(line)


def _flatten(lines: dict[str, deque[ModelLine]]) -> Iterator[ModelLine]:
    for each in lines.values():
        yield from each
