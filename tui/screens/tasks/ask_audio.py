"""The dialog that asks which audio file is to be heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tui.dialogs.ask_path import AskPath
from tui.terminal.dropped import read_dropped_path


def ask_audio(suffixes: frozenset[str], take: Callable[[Path], str | None]) -> AskPath:
    """`take` is given the file, and returns a sentence where it will not do; files with one of the suffixes are
    offered."""

    def accept(text: str) -> str | None:
        path = read_dropped_path(text)
        return "That is no path of a file." if path is None else take(path)

    title = "write down an audio file: type its path, or drop it here"
    return AskPath(title, "", accept, lambda name: Path(name).suffix.lower() in suffixes)
