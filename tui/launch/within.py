"""A program that is launched from the workbench: it has the terminal, and the workbench serves it meanwhile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import App, SuspendNotSupported

from api.curl import KEY_VARIABLE
from core.errors import UsageError
from core.settings.schema import find_folders
from tui.launch.folder import FOLDER, build_environment, fill_folder
from tui.launch.program import Endpoint, Launchable, UserFiles
from tui.launch.programs.registry import find_command
from tui.launch.reach import check_context
from tui.launch.run_folder import make_folder
from tui.launch.running import run_program

if TYPE_CHECKING:
    from tui.session import Desk


async def launch_within(app: App[None], desk: Desk, program: Launchable, log: Path | None) -> int:
    """Run `program` on the model in use and return its exit code; the screen is drawn again behind it. A server that
    was started for it is stopped. Raises BenchtopError, and UsageError where the terminal cannot be given away."""
    command = find_command(program)
    model = await desk.until_ready()
    served = desk.live_server is not None
    server = await desk.start_server()
    try:
        if server.asks_for_key and server.api_key is None:
            raise UsageError(f"The server's keys belong to others; set one in server.api_keys or {KEY_VARIABLE}.")
        context = desk.workbench.models.spec(model).context
        endpoint = Endpoint(server.url, model, context, server.api_key)
        check_context(endpoint, program)
        user = UserFiles(Path.home(), dict(os.environ))
        with make_folder(program.name, find_folders().cache / FOLDER) as folder:
            setup = program.configure(endpoint, folder.path, user)
            fill_folder(folder.path, setup)
            environment = build_environment(setup, user.environment)
            try:
                with app.suspend():
                    return await run_program((command, *setup.arguments), environment, log, folder.held)
            except SuspendNotSupported:
                raise UsageError(
                    f"The screen cannot be given away here; run `tui launch {program.name}` in another terminal."
                ) from None
            finally:
                app.refresh(layout=True)
    finally:
        if not served:
            await desk.stop_server(drain=0)
