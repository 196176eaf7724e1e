"""The command line. Nothing heavy is imported before it is known to be needed: `--help` must feel instant."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

DEFAULT_MODEL = "guide"

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130

EPILOG = """\
commands:
  tui doctor            which engines run here, which do not, and what mends them
  tui list              the models on this machine
  tui bench MODEL ...   the engines side by side; --help tells its options

examples:
  tui                   open the workbench with the built-in model
  tui ~/model.gguf      the same with a model of yours
  tui --serve guide     serve it to any OpenAI client, without a screen

Options may also stand in a config file or in the environment: --port is `port` in the section [server],
or BENCHTOP_SERVER_PORT.
"""


class Arguments(argparse.Namespace):
    """What the command line said; None was not given."""

    model: str | None
    serve: bool
    host: str | None
    port: int | None
    api_key: str | None
    engine: str | None
    slots: int | None
    ctx_size: int | None
    threads: int | None
    rebench: bool
    no_benchmark: bool
    bench_budget: float | None
    max_queue: int | None
    queue_timeout: float | None
    log_level: str | None
    config: Path | None

    def flags(self) -> dict[str, dict[str, object]]:
        """By section of the settings."""
        return {
            "server": {"host": self.host, "port": self.port, "api_key": self.api_key},
            "queue": {"max_queue": self.max_queue, "queue_timeout": self.queue_timeout},
            "model": {
                "engine": self.engine,
                "slots": self.slots,
                "ctx_size": self.ctx_size,
                "threads": self.threads,
            },
            "bench": {
                "enabled": False if self.no_benchmark else None,
                "budget": self.bench_budget,
                "fresh": self.rebench or None,
            },
            "log": {"level": self.log_level},
        }


class _Stop(Exception):
    """The arguments cannot be understood; the sentence says why."""


class _Parser(argparse.ArgumentParser):
    """argparse, whose complaints are one sentence with the nearest option that exists."""

    def error(self, message: str) -> NoReturn:
        raise _Stop(f"{message[:1].upper()}{message[1:]}.")

    def unknown(self, option: str) -> NoReturn:
        if not option.startswith("-"):
            raise _Stop(f"There is one MODEL at most; {option!r} is one too many.")
        name = option.partition("=")[0]
        near = difflib.get_close_matches(name, self._option_string_actions, 1)
        hint = f"; did you mean {near[0]}?" if near else "; --help lists what there is."
        raise _Stop(f"There is no option {name}{hint}")


def parser() -> _Parser:
    made = _Parser(
        prog="tui",
        usage="tui [MODEL] [options]\n       tui --serve MODEL [options]\n       tui doctor | list | bench MODEL ...",
        description="A terminal workbench for running language models on your own machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    made.add_argument("model", nargs="?", metavar="MODEL", help="a name, or a .gguf file; the built-in `guide` if none")
    mode = made.add_argument_group("mode")
    mode.add_argument("--serve", action="store_true", help="the HTTP server alone, without a screen")
    mode.add_argument("-h", "--help", action="help", help="show this and leave")
    mode.add_argument("--version", action="store_true", help="show the version and leave")
    server = made.add_argument_group("server")
    server.add_argument("--host", metavar="ADDRESS", help="address to bind (127.0.0.1)")
    server.add_argument("-p", "--port", type=int, metavar="N", help="port to bind; 0 takes a free one (8080)")
    server.add_argument("--api-key", metavar="KEY", help="what clients must send; made where others can reach us")
    server.add_argument("--max-queue", type=int, metavar="N", help="requests that may wait; 0 is any number (32)")
    server.add_argument("--queue-timeout", type=float, metavar="SECONDS", help="how long one may wait (60)")
    model = made.add_argument_group("model")
    model.add_argument("-e", "--engine", metavar="NAME", help="force an engine; `tui doctor` lists them")
    model.add_argument("--slots", type=int, metavar="N", help="requests that run at once (by memory)")
    model.add_argument("--ctx-size", type=int, metavar="N", help="tokens a request may hold (as the model was made)")
    model.add_argument("--threads", type=int, metavar="N", help="threads that decode (as measured)")
    choice = made.add_argument_group("choosing an engine")
    choice.add_argument("--no-benchmark", action="store_true", help="go by priority, measure nothing")
    choice.add_argument("--rebench", action="store_true", help="measure again what was measured before")
    choice.add_argument("--bench-budget", type=float, metavar="SECONDS", help="how long measuring may take (15)")
    general = made.add_argument_group("general")
    general.add_argument("--config", type=Path, metavar="FILE", help="a config file in place of the usual one")
    general.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (info)")
    return made


def parse(words: Sequence[str]) -> Arguments:
    """Raises _Stop; `--help` ends the process as argparse does."""
    made = parser()
    known, rest = made.parse_known_args(words, namespace=Arguments())
    if rest:
        made.unknown(rest[0])
    return known


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. No traceback reaches a user."""
    try:
        return _run(sys.argv[1:] if words is None else words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe left, as in `tui doctor | head`. What is left to be flushed at exit must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - the edge of the process, where it is logged
        return _confess(error)


def _run(words: Sequence[str]) -> int:
    if words[:1] == ["bench"]:
        return _bench(words[1:])
    try:
        arguments = parse(words)
    except _Stop as error:
        return _complain(str(error))
    if arguments.version:
        return _print_version()
    from core.errors import BenchtopError

    try:
        return _command(arguments)(arguments)
    except BenchtopError as error:
        return _complain(str(error), exit_code(error))


def _command(arguments: Arguments) -> Callable[[Arguments], int]:
    if arguments.serve:
        return _serve
    commands = {"doctor": _doctor, "list": _list}
    return commands.get(arguments.model or "", _open)


def _open(arguments: Arguments) -> int:
    import gc

    # A tenth of the time to the first frame would go into looking for garbage among fresh modules.
    gc.disable()
    from core.config import folders, load_settings
    from core.models.resolve import resolve
    from core.telemetry import log
    from tui.app import BenchtopApp

    settings = load_settings(arguments.flags(), config_file=arguments.config)
    if arguments.model is not None:
        # A name that stands for nothing is told here, where the shell's history is at hand to mend it.
        resolve(arguments.model)
    log.to_file(settings.log.level, folders().state)
    BenchtopApp(settings, arguments.model or DEFAULT_MODEL).run()
    return OK


def _serve(arguments: Arguments) -> int:
    from core.config import load_settings
    from tui.headless import serve

    settings = load_settings(arguments.flags(), config_file=arguments.config)
    return serve(settings, arguments.model or DEFAULT_MODEL)


def _doctor(arguments: Arguments) -> int:
    from core.config import load_settings
    from tui.doctor import examine

    examine(load_settings(arguments.flags(), config_file=arguments.config))
    return OK


def _list(arguments: Arguments) -> int:
    from core.config import load_settings
    from tui.listing import show

    show(load_settings(arguments.flags(), config_file=arguments.config))
    return OK


def _bench(words: Sequence[str]) -> int:
    from core.errors import BenchtopError
    from tui.benching import main as bench

    try:
        return bench(words)
    except BenchtopError as error:
        return _complain(str(error), exit_code(error))


def _print_version() -> int:
    from api.version import version

    sys.stdout.write(f"benchtop {version()}\n")
    return OK


def exit_code(error: Exception) -> int:
    """2 for what the user can put right on the command line, 1 for what failed by itself."""
    from core.errors import ArtifactError, EngineUnavailable, LoadFailed, ModelNotFound, ServerError, UsageError

    mendable = (UsageError, ModelNotFound, ArtifactError, LoadFailed, EngineUnavailable, ServerError)
    return USAGE if isinstance(error, mendable) else FAILED


def _confess(error: Exception) -> int:
    """The edge of the process: a fault of ours goes to the log, and the user is told where that is."""
    from core.config import LogLevel, folders
    from core.telemetry import log

    path = log.to_file(LogLevel.INFO, folders().state)
    log.get_logger(__name__).error("the program failed", cause=error)
    place = f" {path} says where." if path else ""
    return _complain(f"This is a fault of benchtop, not yours: {type(error).__name__}: {error}.{place}", FAILED)


def _complain(sentence: str, code: int = USAGE) -> int:
    sys.stderr.write(f"tui: {sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
