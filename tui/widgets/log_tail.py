"""The last lines of the log, for a screen: what is written to the log file is kept here as well."""

from __future__ import annotations

import logging
import time
from collections import deque

from core.foreign_text import make_printable
from core.telemetry.log import FIELDS

KEPT_LINES = 200


class LogTail(logging.Handler):
    """A handler that remembers. `version` changes with every line, so that a reader knows when to draw."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.version = 0

    def emit(self, record: logging.LogRecord) -> None:
        when = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, FIELDS, None) or {}
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        line = f"{when} {record.levelname.lower():<7} {record.getMessage()} {told}".rstrip()
        self.lines.append(make_printable(line))
        self.version += 1
