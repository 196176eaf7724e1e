"""The words of a command line, as argparse reads them, and the options that are settings.

Imports nothing that takes time: `--help` must feel instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NoReturn

from tui.cli.declarations import load_declarations

if TYPE_CHECKING:
    from pathlib import Path

    from core.contract.declared import Declared

SECTIONS: Final = (
    *("server", "ollama", "limits", "queue", "model", "pool", "route", "prompts", "answers", "encoding", "cache"),
    *("capture", "bench", "usage", "conversations", "log", "telemetry"),
)
"""Those whose settings are options of the workbench, in the order of its help."""


class Misunderstood(Exception):
    """The arguments cannot be understood; the sentence says why."""


class Arguments(argparse.Namespace):
    """What a command line says. An option that is a setting is called `section.key` here, and None was not given."""

    config: Path | None
    """The config file to read in place of the usual one."""
    words: tuple[str, ...]
    """All words, as they were given."""
    passed: tuple[str, ...] = ()
    """Those behind `--`, of a command that passes them on."""

    def flags(self) -> dict[str, dict[str, object]]:
        """The settings that were given, by section."""
        sections: dict[str, dict[str, object]] = {}
        for name, value in vars(self).items():
            section, dot, key = name.partition(".")
            if dot and value is not None:
                sections.setdefault(section, {})[key] = value
        if served := vars(self).get("served"):
            from tui.cli.served_names import name_models

            sections["models"] = dict(name_models(served, vars(self).get("model")))
        return sections

    def secrets(self) -> Iterator[str]:
        """The keys that were given."""
        for section, values in load_declarations().items():
            for setting in values:
                given = vars(self).get(f"{section}.{setting.name}") if setting.secret else None
                yield from [given] if isinstance(given, str) else given or ()


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints are one sentence with the nearest option that exists."""

    def error(self, message: str) -> NoReturn:
        _, found, missing = message.partition("arguments are required: ")
        if found:
            raise Misunderstood(f"{missing} is missing; write `{self.usage}`.")
        raise Misunderstood(f"{message[:1].upper()}{message[1:]}; `{self.prog} --help` tells more.")

    def parse(self, words: list[str], *, passes_on: bool = False) -> Arguments:
        """Raises Misunderstood; `--help` ends the process as argparse does. `passes_on`: what stands behind `--` is
        another program's."""
        end = words.index("--") if passes_on and "--" in words else len(words)
        # Of `launch codex --print guide` argparse would otherwise take the model to be left out at `--print`.
        known, rest = self.parse_known_intermixed_args(words[:end], namespace=Arguments())
        known.passed = tuple(words[end + 1 :])
        if rest:
            self._refuse(rest[0])
        return known

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise Misunderstood(f"{word!r} is one too many; write `{self.usage}`.")
        name = word.partition("=")[0]
        near = find_nearest(name, self._option_string_actions)
        hint = f"; did you mean {near}?" if near else f"; `{self.prog} --help` lists what there is."
        raise Misunderstood(f"There is no option {name}{hint}")

    def options(self) -> dict[str, str]:
        """The option for each setting, by `section.key`."""
        return {action.dest: action.option_strings[0] for action in self._actions if "." in action.dest}


def find_nearest(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """The word that was probably meant; empty where none is near."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), 1)), "")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that are settings too, by the sections of the config file."""
    several = parser.add_argument_group("several models")
    several.add_argument(
        "--models", dest="served", type=_names, metavar="A,B,C", help="models to serve; the first is the default"
    )
    for section in SECTIONS:
        group = parser.add_argument_group(section)
        for setting in load_declarations()[section]:
            add_setting(group, section, setting)


def add_named(parser: argparse._ActionsContainer, *names: str) -> None:
    """The options for single settings, by `section.key`."""
    for name in names:
        section, _, key = name.partition(".")
        add_setting(parser, section, next(each for each in load_declarations()[section] if each.name == key))


def add_setting(parser: argparse._ActionsContainer, section: str, setting: Declared) -> None:
    """An option for a field of a struct of settings."""
    dest = f"{section}.{setting.name}"
    names = [setting.option] if setting.also is None else [setting.option, setting.also]
    choices = f"; one of {', '.join(setting.choices)}" if setting.choices else ""
    words = f"{setting.option_help}{choices}".replace("%", "%%")
    if setting.denies:
        # The twin for true would say nothing that is not the default.
        parser.add_argument(*names, dest=dest, action="store_const", const=False, help=words)
        return
    if setting.kind is bool:
        parser.add_argument(*names, dest=dest, action=argparse.BooleanOptionalAction, help=words)
        return
    again = setting.kind is tuple and not setting.numbers
    parser.add_argument(
        *names,
        dest=dest,
        type=_choose_reader(setting),
        action="append" if again else "store",
        metavar=setting.placeholder,
        help=f"{words}; may be given again" if again else words,
    )


def _choose_reader(setting: Declared) -> Callable[[str], object]:
    """What reads the value of an option."""
    if setting.numbers:
        return _read_numbers
    if setting.words:
        return lambda text: (
            text if text in setting.words else read_whole(text, "".join(f", nor {word}" for word in setting.words))
        )
    kinds: dict[type, Callable[[str], object]] = {int: read_whole, float: read_number}
    return kinds.get(setting.kind, read_filled)


def read_filled(text: str) -> str:
    """The type of an option with a value. An empty value is refused: an unset variable of a shell makes one, and its
    user meant something; of a key it would mean the opposite."""
    if not (given := text.strip()):
        raise argparse.ArgumentTypeError("it is empty; give a value")
    return given


def read_whole(text: str, besides: str = "") -> int:
    """The type of an option that takes a whole number; `besides` ends the sentence that says it is none."""
    try:
        return int(read_filled(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number{besides}") from error


def read_count(text: str) -> int:
    """The type of an option that says how many."""
    if (count := read_whole(text)) < 1:
        raise argparse.ArgumentTypeError(f"{count} is too small; give 1 or more")
    return count


def read_number(text: str) -> float:
    """The type of an option that takes a number."""
    try:
        return float(read_filled(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error


def _read_numbers(text: str) -> list[float]:
    return [read_number(part) for part in text.split(",")]


def read_file_path(text: str) -> Path:
    """The type of an option that names a file."""
    from pathlib import Path

    return Path(read_filled(text))


def _names(text: str) -> list[str]:
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise argparse.ArgumentTypeError("give the names of models, with commas between them")
    return names
