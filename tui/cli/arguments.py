"""The words of a command line, as argparse reads them, and the options that are settings.

Imports nothing that takes time: `--help` must feel instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NoReturn

from tui.cli.declarations import load_declarations

if TYPE_CHECKING:
    from pathlib import Path

    from core.contract.declared import Declared

METAVARS: Final[Mapping[type, str]] = {int: "N", float: "SECONDS", tuple: "FILE"}
"""What stands for a value in the help; `NAME` for all other types."""


class Misunderstood(Exception):
    """The arguments cannot be understood; the sentence says why."""


class Arguments(argparse.Namespace):
    """What a command line says. An option that is a setting is called `section.key` here, and None was not given."""

    config: Path | None
    """The config file to read in place of the usual one."""
    words: tuple[str, ...]
    """All words, as they were given."""

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


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints are one sentence with the nearest option that exists."""

    def error(self, message: str) -> NoReturn:
        raise Misunderstood(f"{message[:1].upper()}{message[1:]}; `{self.prog} --help` tells more.")

    def parse(self, words: list[str]) -> Arguments:
        """Raises Misunderstood; `--help` ends the process as argparse does."""
        known, rest = self.parse_known_args(words, namespace=Arguments())
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
    """The options that are settings too."""
    server = parser.add_argument_group("server")
    server.add_argument(
        "--host", dest="server.host", type=read_filled, metavar="ADDRESS", help="address to bind (127.0.0.1)"
    )
    server.add_argument(
        "--port", "-p", dest="server.port", type=read_whole, metavar="N", help="port to bind; 0 takes a free one (8080)"
    )
    server.add_argument(
        "--api-key",
        dest="server.api_key",
        type=read_filled,
        metavar="KEY",
        help="what clients must send; made where others can reach us",
    )
    server.add_argument(
        "--cors-origin",
        dest="server.cors_origins",
        action="append",
        metavar="URL",
        help="web pages from there may call; may be given again",
    )
    server.add_argument(
        "--max-queue",
        dest="queue.max_queue",
        type=read_whole,
        metavar="N",
        help="requests that may wait; 0 is any number (32)",
    )
    server.add_argument(
        "--queue-timeout",
        dest="queue.queue_timeout",
        type=read_number,
        metavar="SECONDS",
        help="how long one may wait (60)",
    )
    server.add_argument(
        "--drain-timeout",
        dest="server.drain_timeout",
        type=read_number,
        metavar="SECONDS",
        help="for requests under way when the server stops (30)",
    )
    model = parser.add_argument_group("model")
    for each in load_declarations():
        add_declared(model, "model", each)
    several = parser.add_argument_group("several models")
    several.add_argument(
        "--models", dest="served", type=_names, metavar="A,B,C", help="models to serve; the first is the default"
    )
    several.add_argument(
        "--model-ttl",
        dest="pool.model_ttl",
        type=read_number,
        metavar="SECONDS",
        help="unload a model idle for so long; 0 never (0)",
    )
    several.add_argument(
        "--memory-limit",
        dest="pool.memory_limit",
        type=read_filled,
        metavar="SIZE",
        help="all models together may take: 12GB, 8GiB or 60%%",
    )
    _add_switch(several, "--auto-route", "route.auto", "answer requests for `auto` with the model that suits", on=True)
    several.add_argument(
        "--route-strategy",
        dest="route.strategy",
        type=read_filled,
        metavar="NAME",
        help="complexity, cheapest-that-fits or round-robin",
    )
    answers = parser.add_argument_group("answers")
    _add_switch(answers, "--json-mode", "answers.json_mode", "JSON, where a request says nothing else", on=True)
    answers.add_argument(
        "--loop-guard",
        dest="answers.loop_guard",
        type=read_whole,
        metavar="TOKENS",
        help="end an answer of which so many are one cycle; 0 never (0)",
    )
    answers.add_argument(
        "--prefill-share",
        dest="queue.prefill_share",
        type=read_number,
        metavar="SHARE",
        help="of the time, what computing prompts may take while answers are written (0.9)",
    )
    cache = parser.add_argument_group("prefix cache")
    cache.add_argument(
        "--cache-size", dest="cache.size", type=read_whole, metavar="MB", help="memory for prefixes put aside (2048)"
    )
    _add_switch(cache, "--no-cache", "cache.enabled", "compute each prompt from its beginning", on=False)
    cache.add_argument(
        "--disk-cache",
        dest="cache.disk_folder",
        type=read_filled,
        metavar="DIR",
        help="where prefixes outlive the process",
    )
    cache.add_argument(
        "--disk-cache-size",
        dest="cache.disk_size",
        type=read_filled,
        metavar="SIZE",
        help="they may take there: 20GB or 10%% of the disk (a tenth of what is free)",
    )
    _add_switch(cache, "--no-disk-cache", "cache.disk", "keep prefixes in memory alone", on=False)
    cache.add_argument(
        "--disk-cache-min-tokens",
        dest="cache.disk_min_tokens",
        type=read_whole,
        metavar="N",
        help="shorter prefixes are not written (128)",
    )
    choice = parser.add_argument_group("choosing an engine")
    _add_switch(choice, "--no-benchmark", "bench.enabled", "go by priority, measure nothing", on=False)
    add_rebench(choice)
    choice.add_argument(
        "--bench-budget",
        dest="bench.budget",
        type=read_number,
        metavar="SECONDS",
        help="how long measuring may take (15)",
    )
    general = parser.add_argument_group("general")
    general.add_argument(
        "--log-level", dest="log.level", type=read_filled, metavar="LEVEL", help="debug, info, warning or error (info)"
    )


def add_rebench(parser: argparse._ActionsContainer) -> None:
    _add_switch(parser, "--rebench", "bench.fresh", "measure again what was measured before", on=True)


def add_declared(parser: argparse._ActionsContainer, section: str, setting: Declared) -> None:
    """An option for a field of a struct of settings."""
    dest = f"{section}.{setting.name}"
    names = [setting.option] if setting.short is None else [setting.option, setting.short]
    choices = f"; one of {', '.join(setting.choices)}" if setting.choices else ""
    words = f"{setting.help}{choices}".replace("%", "%%")
    if setting.kind is bool:
        parser.add_argument(*names, dest=dest, action=argparse.BooleanOptionalAction, help=words)
        return
    metavar = "KEY" if setting.secret else METAVARS.get(setting.kind, "NAME")
    kinds: dict[type, Callable[[str], object]] = {int: read_whole, float: read_number}
    parser.add_argument(
        *names,
        dest=dest,
        type=kinds.get(setting.kind, read_filled),
        action="append" if setting.kind is tuple else "store",
        metavar=metavar,
        help=f"{words}; may be given again" if setting.kind is tuple else words,
    )


def _add_switch(parser: argparse._ActionsContainer, name: str, dest: str, words: str, *, on: bool) -> None:
    """An option without a value, which sets a setting to `on`."""
    parser.add_argument(name, dest=dest, action="store_const", const=on, help=words)


def read_filled(text: str) -> str:
    """The type of an option with a value. An empty value is refused: an unset variable of a shell makes one, and its
    user meant something; of a key it would mean the opposite."""
    if not (given := text.strip()):
        raise argparse.ArgumentTypeError("it is empty; give a value")
    return given


def read_whole(text: str) -> int:
    """The type of an option that takes a whole number."""
    try:
        return int(read_filled(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error


def read_number(text: str) -> float:
    """The type of an option that takes a number."""
    try:
        return float(read_filled(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error


def read_file_path(text: str) -> Path:
    """The type of an option that names a file."""
    from pathlib import Path

    return Path(read_filled(text))


def _names(text: str) -> list[str]:
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise argparse.ArgumentTypeError("give the names of models, with commas between them")
    return names
