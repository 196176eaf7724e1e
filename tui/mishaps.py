"""What goes wrong inside the app, as it is told: one sentence, not the same one again and again, and the rest in the
log."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from core.errors import BenchtopError
from core.foreign_text import make_printable
from core.telemetry.log import get_logger
from tui import format as fmt

AGAIN_SECONDS: Final = 60.0
"""Seconds in which the same mishap is neither told nor logged again: a timer would do so twice a second."""
BURST_MISHAPS: Final = 3
"""Different mishaps told within `BURST_SECONDS`; of more, only the log knows."""
BURST_SECONDS: Final = 10.0
MOST_SEEN_MISHAPS: Final = 500
"""Mishaps kept apart; beyond them the oldest is forgotten."""
WORDS_CHARACTERS: Final = 160
"""Characters of an error's own words in the sentence."""
OWN: Final = frozenset({"textual", "rich", "asyncio"})
"""Folders whose code only passes on what happened elsewhere."""

CodeLine = tuple[str, str, int]

_log = get_logger(__name__)


class Mishaps:
    """Logs every new mishap with its traceback, and says whether the user is to hear of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[CodeLine, tuple[float, int]] = {}
        """When each was logged last, and how often it happened since."""
        self._told: deque[float] = deque(maxlen=BURST_MISHAPS)

    def log(self, error: BaseException, where: str) -> bool:
        """True when it was logged: the first time, and then once in `AGAIN_SECONDS` seconds."""
        now, code_line = self._clock(), _code_line(error)
        last, times = self._seen.pop(code_line, (None, 0))
        if last is not None and now - last < AGAIN_SECONDS:
            self._seen[code_line] = (last, times + 1)
            return False
        self._seen[code_line] = (now, 0)
        if len(self._seen) > MOST_SEEN_MISHAPS:
            del self._seen[next(iter(self._seen))]
        again = {"times": times + 1} if times else {}
        _log.error("a part of the app failed", cause=error, where=where, **again)
        return True

    def may_tell(self) -> bool:
        """False while enough was told a moment ago."""
        now = self._clock()
        if len(self._told) == BURST_MISHAPS and now - self._told[0] < BURST_SECONDS:
            return False
        self._told.append(now)
        return True


def describe_mishap(error: BaseException, part: str, log_file: Path | None) -> str:
    """What a user is told of a mishap in `part` of the app: `the models screen`."""
    if isinstance(error, BenchtopError):
        return make_printable(str(error))
    said = fmt.clip_text(make_printable(" ".join(_words(error).split())), WORDS_CHARACTERS)
    known = f"{type(error).__name__}: {said}" if said else type(error).__name__
    more = f" {log_file} has the details." if log_file is not None else ""
    return f"Something in {part} failed ({known}). The app goes on.{more}"


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error that cannot even be told is told by its name, and is logged as it is
        return ""


def _code_line(error: BaseException) -> CodeLine:
    """Where it happened: the innermost line that is not a toolkit's, so that two screens which ask for a widget in vain
    are two mishaps."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [each for each in frames if OWN.isdisjoint(Path(each[0]).parts)]
    file, line = (ours or frames or [("", 0)])[-1]
    return type(error).__name__, file, line
