"""A part of the models screen: files and folders that a path names, to be listed from now on or loaded once."""

from __future__ import annotations

from abc import abstractmethod
from fnmatch import fnmatch
from pathlib import Path

from textual import work

from core.errors import BenchtopError
from core.files import expand_home
from core.models.formats.registry import load_formats
from tui.dialogs.ask_path import AskPath
from tui.screens.base import WorkbenchScreen


class Adding(WorkbenchScreen):
    """What `a` and `o` do there."""

    def __init__(self) -> None:
        super().__init__()
        self.last_file = ""
        """What was unloaded and is in no list."""

    @abstractmethod
    def rescan(self) -> object:
        """Look at the disk again."""

    def action_add(self) -> None:
        self.app.push_screen(
            AskPath("Add a folder or a model's file", "~/", self._add, is_model_file, "where models lie: ~/models")
        )

    def _add(self, answer: str) -> str | None:
        path = expand_home(answer).absolute()
        if problem := explain_unlisted(path):
            return problem
        self._add_path(path)
        return None

    @work(group="add")
    async def _add_path(self, path: Path) -> None:
        try:
            added = await self.desk.add_to_library(path, self.bench.config_file)
        except BenchtopError as error:
            self.complain(error)
            return
        what = "Added" if added else "Named already:"
        self.notify(f"{what} {path}; {self.bench.config_file} says so.", markup=False)
        self.rescan()

    def action_open(self) -> None:
        self.app.push_screen(
            AskPath("Open a model file", self.last_file, self._open, is_model_file, "path to a .gguf file")
        )

    def _open(self, answer: str) -> str | None:
        path = expand_home(answer)
        if not path.is_file():
            return f"There is no file {path}."
        self.bench.load(str(path))
        return None


def is_model_file(name: str) -> bool:
    """Whether a file may be a model by itself, told by its name."""
    return any(fnmatch(name.lower(), pattern) for format_ in load_formats() for pattern in format_.patterns)


def explain_unlisted(path: Path) -> str:
    """Why a path cannot be added to the library; empty where it can."""
    if path.is_dir():
        return "" if path != Path.home() else "A whole home folder takes minutes to look through; name a folder in it."
    if not path.exists():
        return f"There is no folder and no file {path}."
    return "" if is_model_file(path.name) else f"{path.name} has not the name of a model's file, as .gguf is one."
