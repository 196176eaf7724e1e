"""Times as Ollama writes them: how long a model stays, as its clients say it, and nanoseconds."""

from __future__ import annotations

import math
import re
from typing import Final

from core.errors import RequestError

NANOSECONDS: Final = 1_000_000_000
"""Of a second."""
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER: Final = re.compile(r"\d{1,18}(?:\.\d{0,18})?|\.\d{1,18}")
_PART: Final = re.compile(rf"(?P<number>{_NUMBER.pattern})(?P<unit>ns|us|µs|μs|ms|s|m|h)")
MOST_PARTS: Final = 16


def read_keep_alive(said: float | str | None) -> float | None:
    """Seconds that a model stays idle; infinite for what is negative, None where nothing is said. Texts are Go's
    durations, as `1h30m`; one without a unit is in seconds. Raises RequestError."""
    if said is None or said == "":
        return None
    seconds = said if not isinstance(said, str) else _read_text(said.strip())
    return math.inf if seconds < 0 else float(seconds)


def _read_text(text: str) -> float:
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text.removeprefix("-").removeprefix("+")
    if _NUMBER.fullmatch(rest):
        return sign * float(rest)
    parts = [*_PART.finditer(rest[: MOST_PARTS * 40])]
    if not parts or len(parts) > MOST_PARTS or "".join(part[0] for part in parts) != rest:
        raise RequestError(
            f"The field `keep_alive` is wrong: {text[:40]!r} is no time; write it as 5m, 1h30m or 300, or -1 for ever.",
            "keep_alive",
        )
    return sign * sum(float(part["number"]) * _UNITS[part["unit"]] for part in parts)


def count_nanoseconds(seconds: float) -> int:
    return round(max(0.0, seconds) * NANOSECONDS)
