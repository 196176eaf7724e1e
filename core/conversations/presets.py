"""Settings of chats by name: a few that are built in, and those that the user keeps in the config folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec.structs import asdict

from core.conversations.settings import ChatSettings
from core.errors import BenchtopError, ConfigError
from core.files import read_regular, write_atomically
from core.foreign_text import make_printable
from core.settings.check import convert_values

MOST_FILE_BYTES: Final = 4 << 20
MOST_NAME_CHARACTERS: Final = 40
BUILT_IN_PRESETS: Final[Mapping[str, ChatSettings]] = MappingProxyType(
    {
        "precise": ChatSettings(temperature=0.0),
        "creative": ChatSettings(temperature=1.0, top_p=1.0, min_p=0.05, top_k=0),
        "brief": ChatSettings(system="Answer in three sentences at most, without a preamble."),
        "code": ChatSettings(
            system="You are an experienced programmer. Answer with code first; explain only what is not obvious in it.",
            temperature=0.2,
            top_p=0.9,
        ),
    }
)


class PresetError(BenchtopError):
    """A preset cannot be had, or cannot be kept; its words tell the user why."""


class WrittenPreset(ChatSettings, frozen=True, forbid_unknown_fields=True):
    """As the file has it: a key that is misspelled there would be lost with the next save."""


class PresetShelf:
    """Reads the file anew each time, so that several programs may use it. One that cannot be used, which somebody has
    written by hand as a rule, is told of and never written over. Touches the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[str, ChatSettings]:
        """The user's own presets, by name. Raises PresetError for a file that cannot be used."""
        try:
            data = read_regular(self._path, MOST_FILE_BYTES)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise PresetError(f"The presets in {self._path} cannot be read: {error.strerror}.") from error
        try:
            written = msgspec.json.decode(data, type=dict[str, object])
            return {name: _read_preset(name, each, self._path) for name, each in written.items()}
        except ConfigError as error:
            raise PresetError(str(error)) from error
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise PresetError(f"The file of the presets, {self._path}, is damaged: {error}.") from error

    def list_all(self) -> dict[str, ChatSettings]:
        """The built-in presets, then the user's own in the order of their names. Raises PresetError."""
        return {**BUILT_IN_PRESETS, **dict(sorted(self.load().items()))}

    def save(self, name: str, settings: ChatSettings) -> str:
        """Keep settings by a name, in place of those that had it; the name as it is kept. Raises PresetError."""
        name = _check_name(name)
        self._write({**self.load(), name: settings})
        return name

    def rename(self, name: str, to: str) -> str:
        """Give a preset of the user's another name, which no preset may have yet. Raises PresetError."""
        to = _check_name(to)
        own = self.load()
        if to != name and to in own:
            raise PresetError(f"There is a preset called {to} already; choose another name.")
        settings = own.pop(_check_own(name, own))
        self._write({**own, to: settings})
        return to

    def delete(self, name: str) -> None:
        """Forget a preset of the user's. Raises PresetError."""
        own = self.load()
        del own[_check_own(name, own)]
        self._write(own)

    def _write(self, presets: Mapping[str, ChatSettings]) -> None:
        data = msgspec.json.format(msgspec.json.encode(dict(presets)), indent=2)
        try:
            write_atomically(self._path, data + b"\n")
        except OSError as error:
            raise PresetError(f"The presets cannot be kept in {self._path}: {error.strerror}.") from error


def _read_preset(name: str, written: object, path: Path) -> ChatSettings:
    """Raises ConfigError, which names the key."""
    return ChatSettings(**asdict(convert_values(written, WrittenPreset, f"the presets in {path}", prefix=name)))


def _check_name(text: str) -> str:
    name = " ".join(text.split())
    if not name:
        raise PresetError("A preset needs a name.")
    if len(name) > MOST_NAME_CHARACTERS:
        raise PresetError(f"The name has more than {MOST_NAME_CHARACTERS} characters; choose a shorter one.")
    if make_printable(name) != name:
        raise PresetError("The name holds signs that cannot be seen; leave them out.")
    if name in BUILT_IN_PRESETS:
        raise PresetError(f"The preset {name} is built in; choose another name.")
    return name


def _check_own(name: str, own: Mapping[str, ChatSettings]) -> str:
    if name in own:
        return name
    if name in BUILT_IN_PRESETS:
        raise PresetError(f"The preset {name} is built in and stays as it is; save your own by another name.")
    raise PresetError(f"There is no preset called {name} any more.")
