"""What a program that can be launched is, and what it is given for its one run: pure, apart from who does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

NO_KEY: Final = "not-needed"
"""What programs that insist on a key are given where the server asks for none."""
PATIENCE_SECONDS: Final = 3600
"""How long a program is to wait for a token: a long prompt takes its time on a processor."""
PATIENCE_MILLISECONDS: Final = PATIENCE_SECONDS * 1000


class Endpoint(Struct, frozen=True):
    """What is served."""

    url: str
    """The server's address, without a path."""
    model: str
    context: int
    """Tokens that one request may hold."""
    key: str | None = None
    """What the server asks for; None for nothing."""

    @property
    def base_url(self) -> str:
        """Where clients of OpenAI's dialect begin."""
        return f"{self.url}/v1"

    @property
    def any_key(self) -> str:
        """For programs that insist on one."""
        return self.key or NO_KEY

    @property
    def answer_tokens(self) -> int:
        """Tokens that an answer may take at most, so that the greater part of the context is left to the prompt."""
        return min(32_000, self.context // 4)


class UserFiles(Struct, frozen=True):
    """Where the user's own things lie. Nothing there is ever written."""

    home: Path
    environment: Mapping[str, str]
    """As the program would have it without us."""

    def find_folder(self, variable: str, usual: str) -> Path:
        """The folder that an environment variable names, else the usual one, as a path below the home folder."""
        return Path(self.environment.get(variable) or self.home / usual).expanduser()


class Overlay(Struct, frozen=True):
    """A JSON file: one of the user's, and what is changed in it."""

    below: Path
    """The user's; it may be missing."""
    changes: Mapping[str, object]
    """As a JSON merge patch (RFC 7396): what is None is taken out."""


class Mirror(Struct, frozen=True):
    """A folder of links to all that a folder of the user's has, but for an entry that the program gets anew."""

    real: Path
    entry: str = ""


class LaunchSetup(Struct, frozen=True):
    """What a program is given for one run. Paths of files are seen from the folder that is made for it."""

    environment: Mapping[str, str]
    arguments: tuple[str, ...] = ()
    """Before those of the user."""
    removed: tuple[str, ...] = ()
    """Variables of the user's that would lead it elsewhere."""
    files: Mapping[str, str | Overlay] = {}
    copies: Mapping[str, Path] = {}
    """The user's own files and folders that it goes on with, where they are there."""
    mirrors: Mapping[str, Mirror] = {}


class Launchable(Struct, frozen=True):
    """One that can be launched."""

    name: str
    """As `tui launch` has it."""
    title: str
    """As it calls itself."""
    command: str
    """The program's file, found on the PATH."""
    install: str
    """The command that installs it."""
    least_context: int
    """Tokens without which its own instructions leave no room for work."""
    usual_context: int
    """Tokens that a model is loaded with where the user says nothing, as far as it was trained for them."""
    configure: Callable[[Endpoint, Path, UserFiles], LaunchSetup]
    """From what is served, the folder that is made for this run and the user's own things. Touches nothing."""
