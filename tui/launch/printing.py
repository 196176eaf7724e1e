"""What a program would be given, as lines for a shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from tui.launch.folder import merge_patch
from tui.launch.program import Launchable, LaunchSetup, Overlay

END = "END_OF_FILE"


def write_shell_lines(program: Launchable, setup: LaunchSetup, folder: Path, words: Sequence[str]) -> Iterator[str]:
    """For a POSIX shell: they set the same when they are run, but for copies of the user's own files, which are named
    alone. `words` are the user's arguments."""
    for place, mirror in setup.mirrors.items():
        if mirror.real.exists():
            yield f"# {folder / place}: links to all of {mirror.real}{f' but {mirror.entry}' if mirror.entry else ''}"
    for place, own in setup.copies.items():
        if own.exists():
            yield f"# {folder / place}: a copy of {own}"
    for place, content in setup.files.items():
        file = folder / place
        if isinstance(content, Overlay) and content.below.exists():
            # It may hold keys of other services.
            yield f"# {file}: {content.below}, with these changes"
        text = content if isinstance(content, str) else json.dumps(merge_patch({}, content.changes), indent=2)
        yield f"mkdir -p {shlex.quote(str(file.parent))}"
        yield f"cat > {shlex.quote(str(file))} <<'{END}'"
        yield text
        yield END
    if setup.removed:
        yield f"unset {' '.join(setup.removed)}"
    for name, value in setup.environment.items():
        yield f"export {name}={shlex.quote(value)}"
    yield shlex.join([program.command, *setup.arguments, *words])
