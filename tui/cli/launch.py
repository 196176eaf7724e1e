"""`tui launch PROGRAM [MODEL]`: a coding agent or another client on a model of this machine, with one command."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table

from core.settings.load import load_settings
from core.settings.schema import Settings, find_folders
from core.telemetry import log
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.ensure import check_model, ensure_models
from tui.cli.output import write_text
from tui.launch.folder import FOLDER, build_environment, fill_folder
from tui.launch.printing import write_shell_lines
from tui.launch.program import Endpoint, Launchable, UserFiles
from tui.launch.programs.registry import PROGRAMS, find_command, find_program
from tui.launch.reach import (
    USUAL_MODEL,
    ask_server,
    check_context,
    find_key,
    find_server,
    hide_key,
    name_address,
    start_own,
)
from tui.launch.run_folder import make_folder
from tui.launch.running import run_program

LOG: Final = log.get_logger(__name__)


def run_launch(given: Arguments) -> int:
    """Run a program and return its exit code; without one, tell which there are. Raises BenchtopError."""
    if given.program is None:
        Paper().print(build_programs_table())
        return 0
    program = find_program(given.program)
    settings = load_settings(given.flags(), config_file=given.config)
    user = UserFiles(Path.home(), dict(os.environ))
    if given.print:
        return asyncio.run(_print(program, settings, given, user))
    command = find_command(program)
    return asyncio.run(_launch(program, command, settings, given, user))


def build_programs_table() -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("program", "name", "installed"):
        table.add_column(column)
    for each in PROGRAMS:
        table.add_row(each.name, each.title, shutil.which(each.command) or f"no: {each.install}")
    return table


async def _launch(program: Launchable, command: str, settings: Settings, given: Arguments, user: UserFiles) -> int:
    """On a server that runs, else on one of this process."""
    console = Paper(stderr=True)
    running = await find_server(settings.server)
    if running is not None:
        options = given.flags().get("model", {})
        endpoint = await ask_server(running, given.model, find_key(settings.server), options)
        return await _run(program, command, endpoint, given, user, _log(settings), console)
    model = given.model or settings.default_model or USUAL_MODEL
    await asyncio.to_thread(ensure_models, settings, (settings.source(model),), pull=given.pull)
    file = _log(settings)
    console.tell(f"Loading {model} ...")
    async with start_own(settings, model, program, LOG.info) as endpoint:
        return await _run(program, command, endpoint, given, user, file, console)


def _log(settings: Settings) -> Path | None:
    return log.log_to_file(settings.log.level, find_folders().state)


async def _run(
    program: Launchable,
    command: str,
    endpoint: Endpoint,
    given: Arguments,
    user: UserFiles,
    file: Path | None,
    console: Paper,
) -> int:
    check_context(endpoint, program)
    told = (
        f"{program.title} talks with {endpoint.model} at {endpoint.url}; its context holds {endpoint.context:,} tokens."
    )
    console.tell(f"{told} The log is {file}." if file else told)
    with make_folder(program.name, find_folders().cache / FOLDER) as folder:
        setup = program.configure(endpoint, folder.path, user)
        fill_folder(folder.path, setup)
        words = (command, *setup.arguments, *given.passed)
        return await run_program(words, build_environment(setup, user.environment), file, folder.held)


async def _print(program: Launchable, settings: Settings, given: Arguments, user: UserFiles) -> int:
    """What would be set. A server that runs loads the model for that; where none does, none is started, and the context
    is a guess."""
    running = await find_server(settings.server)
    key = find_key(settings.server)
    if running is not None:
        endpoint = await ask_server(running, given.model, key, given.flags().get("model", {}))
    else:
        model = given.model or settings.default_model or USUAL_MODEL
        await asyncio.to_thread(check_model, settings, settings.source(model))
        context = settings.model.ctx_size or program.usual_context
        endpoint = Endpoint(name_address(settings.server), model, context, key)
        write_text(f"# No server runs at {endpoint.url}: `tui --serve` starts one. The context is the one aimed at.")
    folder = find_folders().cache / FOLDER / program.name
    setup = program.configure(endpoint, folder, user)
    for line in write_shell_lines(program, setup, folder, given.passed):
        write_text(hide_key(line, key))
    return 0
