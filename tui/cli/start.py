"""`tui [MODEL]` and `tui --serve MODEL`: the workbench on a terminal, or its server alone.

Whatever takes time to import is imported where it is used: the first frame must not wait for what it does not show.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from tui.cli.arguments import Arguments, Misunderstood
from tui.cli.output import write_text

if TYPE_CHECKING:
    from core.settings.schema import Settings

DEFAULT_MODEL: Final = "guide"


def start_workbench(given: Arguments) -> int:
    """Open the workbench, or serve. Raises Misunderstood and BenchtopError."""
    if given.version:
        from core.version import read_version

        write_text(f"benchtop {read_version()}")
        return 0
    if given.supervise and not given.serve:
        raise Misunderstood("--supervise goes with --serve; a screen is not brought back by itself.")
    if given.model is not None and not given.model.strip():
        # As an unset variable of a shell makes it; that it means the built-in model is not likely.
        raise Misunderstood("MODEL is empty; name one, or leave it out for the built-in one.")
    return _serve(given) if given.serve else _open(given)


def _open(given: Arguments) -> int:
    import gc

    # A tenth of the time to the first frame would go into looking for garbage among fresh modules.
    gc.disable()
    from core.errors import UsageError
    from core.settings.schema import find_folders
    from core.telemetry import log
    from tui.app import BenchtopApp

    settings = _read_settings(given)
    model = given.model or settings.default_model
    if model is not None:
        # A name that stands for nothing is told here, where the shell's history is at hand to mend it.
        _see_to(settings, settings.source(model), pull=given.pull)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The workbench wants a terminal, and there is none; `tui --serve MODEL` serves without one.")
    app = BenchtopApp(settings, model or DEFAULT_MODEL, config_file=given.config)
    app.adapt_to_terminal()
    app.log_file = log.log_to_file(settings.log.level, find_folders().state)
    app.run()
    # The terminal is as it was before; only now can anything be told on it.
    if app.fault is not None:
        raise app.fault
    return app.return_code or 0


def _see_to(settings: Settings, name: str, *, pull: bool) -> None:
    """See that a model is here. Raises as `ensure`; built-in models take no time."""
    from core.models.resolve import BUILT_IN

    if name not in BUILT_IN:
        from tui.cli.ensure import ensure_models

        ensure_models(settings, (name,), pull=pull)


def _serve(given: Arguments) -> int:
    from core.supervision import VARIABLE

    settings = _read_settings(given)
    if given.supervise and VARIABLE not in os.environ:
        from tui.cli.supervisor import supervise_server

        return supervise_server(given.words, settings)
    from tui.cli.serve import serve_models

    return serve_models(settings, given.model or settings.default_model or DEFAULT_MODEL, pull=given.pull)


def _read_settings(given: Arguments) -> Settings:
    """The settings in force. Raises ConfigError, and UsageError for settings that cannot be meant."""
    from core.settings.load import load_settings

    settings = load_settings(given.flags(), config_file=given.config)
    _check_threads(settings)
    _check_routes(settings, given.model)
    return settings


def _check_threads(settings: Settings) -> None:
    """More threads than processors make decoding many times slower, and measuring engines meaningless."""
    sections = [settings.model, *settings.models.values()]
    asked = [count for each in sections for count in (each.threads, each.batch_threads) if count is not None]
    if not asked:
        return
    from core.errors import UsageError
    from core.hardware import describe_machine

    if max(asked) > describe_machine().threads:
        here = describe_machine().threads
        raise UsageError(f"{max(asked)} threads are asked for, and this machine has {here}; give fewer.")


def _check_routes(settings: Settings, model: str | None) -> None:
    from core.errors import UsageError

    if settings.route.auto and len({*settings.models} | ({model} if model else set())) < 2:
        raise UsageError(
            "--auto-route chooses among models, and fewer than two are named; "
            "name them with --models a,b or as [models.NAME] in the config file."
        )
