"""Logging: the standard library's loggers, rendered by structlog.

Code takes a logger with `get_logger(__name__)` and logs an event with fields: `log.info("loaded", model=name)`. Every
line carries the id of the request it was written for. structlog takes a quarter of a second to import, so that is
left to the first line that is written: a program that logs nothing, or has its first frame to draw, does not wait.
"""

from __future__ import annotations

import json as encoder
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from enum import Enum
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from core.foreign_text import make_json_printable, make_printable


class LogLevel(Enum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


if TYPE_CHECKING:
    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Set where a request enters; tasks and threads started with `asyncio` inherit it."""

FIELDS = "fields"
"""The attribute of a log record that holds an event's fields."""

FILE_NAME = "benchtop.log"
FILE_BYTES = 2_000_000
FILES_KEPT = 2

NOISY = ("asyncio", "httpcore", "httpx", "httpx2", "huggingface_hub", "markdown_it", "uvicorn")
"""Loggers of others, heard from `WARNING` on whatever the level."""


class Logger:
    """Events with fields, on top of a logger of the standard library. Fields that are None are left out."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, *, cause: BaseException | None = None, **fields: object) -> None:
        """With the traceback of `cause`."""
        self._log(logging.ERROR, event, fields, cause)

    def exception(self, event: str, **fields: object) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, event, fields, sys.exception())

    def _log(self, level: int, event: str, fields: Mapping[str, object], cause: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            told = {name: value for name, value in fields.items() if value is not None}
            self._logger.log(level, "%s", event, exc_info=cause, extra={FIELDS: told})


def get_logger(name: str) -> Logger:
    return Logger(logging.getLogger(name))


def log_to_stderr(level: LogLevel, *, json: bool = False) -> None:
    """For a headless server: lines for people, or one JSON object a line."""
    _install(logging.StreamHandler(sys.stderr), level, json=json)


def log_to_file(level: LogLevel, folder: Path) -> Path | None:
    """For the terminal app, whose screen nothing else may write on. Returns the file; None
    when there can be none in `folder`, and then nothing is logged."""
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Opening a pipe would wait for its reader.
        if path.exists() and not path.is_file():
            raise FileExistsError(path)
        handler = _FileHandler(
            path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8", errors="backslashreplace", delay=True
        )
        path.open("a").close()
    except OSError:
        _install(logging.NullHandler(), level, json=True)
        return None
    _install(handler, level, json=True)
    return path


class _FileHandler(RotatingFileHandler):
    """Silent where the disk is full: what the standard library prints on stderr then would stand on the screen."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name there
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)


def _install(handler: logging.Handler, level: LogLevel, *, json: bool) -> None:
    """Make `handler` the only one; calling again replaces it."""
    handler.setFormatter(_LazyFormatter(json=json))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(level.name)
    if "structlog" in sys.modules:
        _adopt_structlog()
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _adopt_structlog() -> None:
    """Lead loggers that others took from structlog itself the same way; by default they write on stdout."""
    import structlog

    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, _pack_fields],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


class _LazyFormatter(logging.Formatter):
    """structlog's formatter, made when it is first needed."""

    def __init__(self, *, json: bool) -> None:
        super().__init__()
        self._json = json
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        if self._formatter is None:
            self._formatter = _formatter(json=self._json)
        return self._formatter.format(record)


def _formatter(*, json: bool) -> logging.Formatter:
    import structlog

    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=(FIELDS,)),
        _spread_fields,
        _add_request_id,
        structlog.processors.TimeStamper(fmt="iso", utc=json),
    ]
    finish: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if json:
        finish += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_encode_event)]
    else:
        colours = sys.stderr.isatty()
        finish += [
            _escape_fields,
            structlog.dev.ConsoleRenderer(
                colors=colours, exception_formatter=_write_traceback, pad_event_to=0, sort_keys=False
            ),
        ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=finish)


def _escape_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Names of models and paths of requests are others' words; one event is one line. The traceback has lines."""
    for name, value in event.items():
        if name == "stack":
            event[name] = make_printable(str(value), lines=True)
        elif name != "exc_info":
            # What is no text is shown as Python writes it, which escapes less than a terminal obeys.
            event[name] = make_printable(value if isinstance(value, str) else repr(value))
    return event


def _encode_event(event: object, default: Callable[[object], object]) -> str:
    """The encoder escapes all but DEL."""
    return make_json_printable(encoder.dumps(event, default=default))


def _write_traceback(out: TextIO, cause: ExcInfo) -> None:
    """An exception's text quotes whatever it was raised about."""
    out.write("\n" + make_printable("".join(traceback.format_exception(*cause)).rstrip("\n"), lines=True))


def _pack_fields(_: WrappedLogger, __: str, event: EventDict) -> tuple[tuple[object], EventDict]:
    """What `Logger` does, for a call of structlog's: a message, and the fields as one attribute of the record."""
    message, cause = event.pop("event"), event.pop("exc_info", None)
    return (message,), {"exc_info": cause, "extra": {FIELDS: event}}


def _spread_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event.update(event.pop(FIELDS, {}))
    return event


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if identity := request_id.get():
        # A line of a thread that serves many tells the id itself.
        event.setdefault("request_id", identity)
    return event
