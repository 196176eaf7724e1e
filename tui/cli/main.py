"""The command line. Nothing heavy is imported before it is known to be needed: `--help` must feel instant."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from core.environment import forget_empty
from tui.cli.arguments import Arguments, Misunderstood
from tui.cli.commands import Command, build_parser, find_command, guess_command
from tui.cli.hidden_words import hide_words
from tui.cli.output import be_tolerant, write_error

FAILED_STATUS = 1
USAGE_STATUS = 2
INTERRUPTED_STATUS = 130
FULL = (errno.ENOSPC, errno.EDQUOT)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. No traceback reaches a user."""
    be_tolerant()
    forget_empty(os.environ)
    try:
        return _run(sys.argv[1:] if words is None else words)
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        # The reader of a pipe left, as in `tui doctor | head`.
        _drop_output()
        return FAILED_STATUS
    except Exception as error:  # noqa: BLE001 - the edge of the process, where it is logged
        if isinstance(error, OSError) and error.errno in FULL:
            _drop_output()
            what = "The output" if error.filename is None else f"The file {error.filename}"
            return _complain(f"{what} cannot be written: {error.strerror}; free some room.", FAILED_STATUS)
        if isinstance(error, PermissionError) and error.filename is not None:
            return _complain(
                f"The file {error.filename} cannot be used: {error.strerror}; mend its permissions.", FAILED_STATUS
            )
        return _confess(error)


def _drop_output() -> None:
    """What is left to be flushed at exit must go somewhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(words: Sequence[str]) -> int:
    command, rest = find_command(words)
    try:
        given = build_parser(command).parse(rest, passes_on=command.passes_on)
    except Misunderstood as error:
        return _complain(f"{error}{guess_command(command, words)}", USAGE_STATUS)
    given.words = tuple(words)
    hide_words(given.secrets())
    from core.errors import BenchtopError, ModelNotFound

    try:
        return _handler(command)(given)
    except Misunderstood as error:
        return _complain(str(error), USAGE_STATUS)
    except BenchtopError as error:
        hint = guess_command(command, words) if isinstance(error, ModelNotFound) else ""
        return _complain(f"{error}{hint}", choose_exit_code(error))


def _handler(command: Command) -> Callable[[Arguments], int]:
    module, _, function = command.handler.partition(":")
    found: Callable[[Arguments], int] = getattr(import_module(module), function)
    return found


def choose_exit_code(error: Exception) -> int:
    """2 for what the user can put right on the command line, 1 for what failed by itself."""
    from core import errors

    if isinstance(error, errors.Cancelled):
        return INTERRUPTED_STATUS
    mendable = (
        errors.UsageError,
        errors.ModelNotFound,
        errors.RepositoryNotFound,
        errors.GatedRepository,
        errors.ArtifactError,
        errors.LoadFailed,
        errors.EngineUnavailable,
        errors.ServerError,
    )
    return USAGE_STATUS if isinstance(error, mendable) else FAILED_STATUS


def _confess(error: Exception) -> int:
    """The edge of the process: a fault of ours goes to the log, and the user is told where that is."""
    from core.settings.schema import find_folders
    from core.telemetry import log
    from core.telemetry.log import LogLevel

    path = log.log_to_file(LogLevel.INFO, find_folders().state)
    log.get_logger(__name__).error("the program failed", cause=error)
    where = f" {path} says where." if path else ""
    return _complain(f"This is a fault of benchtop, not yours: {type(error).__name__}: {error}.{where}", FAILED_STATUS)


def _complain(sentence: str, code: int) -> int:
    write_error(sentence)
    return code


if __name__ == "__main__":
    sys.exit(main())
