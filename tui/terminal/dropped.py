"""Files that are dropped on the terminal: it types their paths, as a shell would have them."""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.files import expand_home, has_file


def read_dropped_path(text: str) -> Path | None:
    """The path of the file that was dropped, or typed by hand: quoted, with backslashes, or as a `file:` address. None
    for what is no path: nothing, several words, several lines."""
    written = text.strip()
    if not written or "\n" in written or "\0" in written:
        return None
    if written.startswith("file:"):
        return Path(unquote(urlsplit(written).path))
    try:
        words = shlex.split(written)
    except ValueError:
        # An apostrophe in a name that nobody quoted.
        words = [written]
    if len(words) != 1:
        words = [written] if has_file(expand_home(written)) else []
    return expand_home(words[0]) if words and words[0] else None
