"""The command line. Nothing heavy is imported before it is known to be needed: `--help` must feel instant."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from core.environment import forget_empty
from tui.cli.arguments import Arguments, Misunderstood, parse, parse_config
from tui.cli.output import be_tolerant, complain, write

if TYPE_CHECKING:
    from core.settings.schema import Settings

DEFAULT_MODEL = "guide"
COMMANDS = ("doctor", "list", "pull", "rm", "bench", "config")

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. No traceback reaches a user."""
    be_tolerant()
    forget_empty(os.environ)
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
    words = _command_first(words)
    if words[:1] == ["bench"]:
        return _bench(words[1:])
    if words[:1] == ["pull"]:
        return _pull(words[1:])
    if words[:1] == ["config"]:
        return _config(words[1:])
    if words[:1] == ["list"]:
        return _list(words[1:])
    if words[:1] == ["rm"]:
        return _remove(words[1:])
    try:
        arguments = parse(words)
    except Misunderstood as error:
        return _complain(f"{error}{_command_meant(words[0])}")
    if arguments.version:
        return _print_version()
    from core.errors import BenchtopError

    try:
        return _command(arguments)(arguments)
    except Misunderstood as error:
        return _complain(str(error))
    except BenchtopError as error:
        return _complain(f"{error}{_meant(arguments.model or '', error)}", exit_code(error))


def _command_first(words: Sequence[str]) -> Sequence[str]:
    """`list -C FILE` for `-C FILE list`: the option is everyone's, but commands have parsers of their own."""
    if len(words) > 2 and words[0] in ("-C", "--config") and words[2] in COMMANDS:
        return [words[2], *words[:2], *words[3:]]
    return words


def _meant(word: str, error: Exception) -> str:
    """The command that an unknown model's name looks like."""
    from core.errors import ModelNotFound

    return _command_meant(word) if isinstance(error, ModelNotFound) else ""


def _command_meant(word: str) -> str:
    """A hint for whoever misspelled a command, or takes the option for one."""
    if word == "serve":
        return " To serve a model, write `tui --serve MODEL`."
    near = difflib.get_close_matches(word, COMMANDS, 1)
    return f" Did you mean `tui {near[0]}`?" if near else ""


def _command(arguments: Arguments) -> Callable[[Arguments], int]:
    if arguments.model is not None and not arguments.model.strip():
        # As an unset variable of a shell makes it; that it means the built-in model is not likely.
        raise Misunderstood("MODEL is empty; name one, or leave it out for the built-in one.")
    if arguments.serve:
        return _serve
    commands = {"doctor": _doctor}
    return commands.get(arguments.model or "", _open)


def _open(arguments: Arguments) -> int:
    import gc

    # A tenth of the time to the first frame would go into looking for garbage among fresh modules.
    gc.disable()
    from core.errors import UsageError
    from core.settings.schema import folders
    from core.telemetry import log
    from tui.app import BenchtopApp

    settings = _settings(arguments)
    _check_routes(settings, arguments.model)
    model = arguments.model or settings.default_model
    if model is not None:
        # A name that stands for nothing is told here, where the shell's history is at hand to mend it.
        _see_to(settings, settings.source(model), pull=arguments.pull)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The workbench wants a terminal, and there is none; `tui --serve MODEL` serves without one.")
    app = BenchtopApp(settings, model or DEFAULT_MODEL)
    app.log_file = log.to_file(settings.log.level, folders().state)
    app.run()
    # The terminal is as it was before; only now can anything be told on it.
    return _confess(app.fault) if app.fault is not None else app.return_code or OK


def _see_to(settings: Settings, name: str, *, pull: bool) -> None:
    """See that a model is here. Raises as `ensure`; built-in ones take no time."""
    from core.models.resolve import BUILT_IN

    if name not in BUILT_IN:
        from tui.cli.ensure import ensure

        ensure(settings, (name,), pull=pull)


def _serve(arguments: Arguments) -> int:
    from core.supervision import VARIABLE

    settings = _settings(arguments)
    _check_routes(settings, arguments.model)
    if arguments.supervise and VARIABLE not in os.environ:
        from tui.cli.supervisor import supervise

        return supervise(arguments.words, settings)
    from tui.cli.serve import serve

    return serve(settings, arguments.model or settings.default_model or DEFAULT_MODEL, pull=arguments.pull)


def _settings(arguments: Arguments) -> Settings:
    """What is in the config file without an effect is told, and no hindrance. Raises ConfigError."""
    from core.settings.load import read_settings

    loaded = read_settings(arguments.flags(), config_file=arguments.config)
    for warning in loaded.warnings:
        complain(f"{loaded.file}: {warning}")
    _check_threads(loaded.settings)
    return loaded.settings


def _check_threads(settings: Settings) -> None:
    """More threads than processors make decoding many times slower, and measuring engines meaningless."""
    threads = [settings.model.threads, *(profile.threads for profile in settings.models.values())]
    asked = [each for each in threads if each is not None]
    if not asked:
        return
    from core.errors import UsageError
    from core.hardware import describe_machine

    if max(asked) > describe_machine().threads:
        raise UsageError(
            f"{max(asked)} threads are asked for, and this machine has {describe_machine().threads}; give fewer."
        )


def _check_routes(settings: Settings, model: str | None) -> None:
    from core.errors import UsageError

    if settings.route.auto and len({*settings.models} | ({model} if model else set())) < 2:
        raise UsageError(
            "--auto-route chooses among models, and fewer than two are named; "
            "name them with --models a,b or as [models.NAME] in the config file."
        )


def _doctor(arguments: Arguments) -> int:
    from tui.cli.doctor import examine

    examine(_settings(arguments))
    return OK


def _list(words: Sequence[str]) -> int:
    from core.errors import BenchtopError
    from tui.cli.list_models import main as show

    try:
        return show(words)
    except BenchtopError as error:
        return _complain(str(error), exit_code(error))


def _remove(words: Sequence[str]) -> int:
    from core.errors import BenchtopError
    from tui.cli.rm import main as remove

    try:
        return remove(words)
    except BenchtopError as error:
        return _complain(str(error), exit_code(error))


def _bench(words: Sequence[str]) -> int:
    from core.errors import BenchtopError
    from tui.cli.bench import main as bench

    try:
        return bench(words)
    except BenchtopError as error:
        return _complain(str(error), exit_code(error))


def _pull(words: Sequence[str]) -> int:
    from core.errors import BenchtopError
    from tui.cli.pull import main as pull

    try:
        return pull(words)
    except BenchtopError as error:
        return _complain(str(error), exit_code(error))


def _config(words: Sequence[str]) -> int:
    try:
        arguments = parse_config(words)
    except Misunderstood as error:
        return _complain(str(error))
    from core.errors import BenchtopError
    from core.settings.load import read_settings
    from core.settings.schema import folders
    from tui.cli import config as configuring

    if arguments.what == "path":
        write(str(arguments.config or folders().config / "config.toml"))
        return OK
    try:
        loaded = read_settings(arguments.flags(), config_file=arguments.config)
    except BenchtopError as error:
        return _complain(str(error), exit_code(error))
    show = configuring.show_json if arguments.as_json else configuring.show
    show(loaded, secrets=arguments.show_secrets)
    return OK


def _print_version() -> int:
    from api.version import read_version

    write(f"benchtop {read_version()}")
    return OK


def exit_code(error: Exception) -> int:
    """2 for what the user can put right on the command line, 1 for what failed by itself."""
    from core import errors

    if isinstance(error, errors.Cancelled):
        return INTERRUPTED
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
    return USAGE if isinstance(error, mendable) else FAILED


def _confess(error: Exception) -> int:
    """The edge of the process: a fault of ours goes to the log, and the user is told where that is."""
    from core.settings.schema import folders
    from core.telemetry import log
    from core.telemetry.log import LogLevel

    path = log.to_file(LogLevel.INFO, folders().state)
    log.get_logger(__name__).error("the program failed", cause=error)
    place = f" {path} says where." if path else ""
    return _complain(f"This is a fault of benchtop, not yours: {type(error).__name__}: {error}.{place}", FAILED)


def _complain(sentence: str, code: int = USAGE) -> int:
    complain(sentence)
    return code


if __name__ == "__main__":
    sys.exit(main())
