"""What the command line may say, as argparse reads it. Imports nothing that takes time: `--help` must feel instant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from core.foreign_text import make_printable

EPILOG = """\
commands:
  tui doctor            which engines run here, which do not, and what mends them
  tui list              the models on this machine; --catalog those that have short names
  tui pull MODEL        download a model of the Hub, or go on with it; --resume with all
  tui rm MODEL          delete a model from the Hub's cache or a folder of models
  tui bench MODEL ...   the engines side by side; --help tells its options
  tui config            the settings in force, and where each comes from

examples:
  tui                   open the workbench with the built-in model
  tui ~/model.gguf      the same with a model of yours
  tui --serve guide     serve it to any OpenAI client, without a screen

Options may also stand in a config file or in the environment: --port is `port` in the section [server],
or BENCHTOP_SERVER_PORT. Models are tables there, [models.NAME]; the first one is the default.
"""


class Arguments(argparse.Namespace):
    """What the command line said; None was not given."""

    model: str | None
    serve: bool
    supervise: bool
    words: tuple[str, ...] = ()
    """All of them, as they were given."""
    host: str | None
    port: int | None
    api_key: str | None
    cors_origins: list[str] | None
    engine: str | None
    slots: int | None
    ctx_size: int | None
    threads: int | None
    kv_type: str | None
    draft: str | None
    models: list[str] | None
    model_ttl: float | None
    memory_limit: str | None
    auto_route: bool
    route_strategy: str | None
    pull: bool
    rebench: bool
    no_benchmark: bool
    bench_budget: float | None
    max_queue: int | None
    queue_timeout: float | None
    log_level: str | None
    config: Path | None
    what: str | None
    """Of `tui config`, as the next two."""
    as_json: bool
    show_secrets: bool

    def flags(self) -> dict[str, dict[str, object]]:
        """By section of the settings."""
        return {
            "server": {
                "host": self.host,
                "port": self.port,
                "api_key": self.api_key,
                "cors_origins": self.cors_origins,
            },
            "queue": {"max_queue": self.max_queue, "queue_timeout": self.queue_timeout},
            "model": {
                "engine": self.engine,
                "slots": self.slots,
                "ctx_size": self.ctx_size,
                "threads": self.threads,
                "kv_type": self.kv_type,
                "draft": self.draft,
            },
            "models": {name: {} for name in self.models or ()},
            "pool": {"memory_limit": self.memory_limit, "model_ttl": self.model_ttl},
            "route": {"auto": self.auto_route or None, "strategy": self.route_strategy},
            "bench": {
                "enabled": False if self.no_benchmark else None,
                "budget": self.bench_budget,
                "fresh": self.rebench or None,
            },
            "log": {"level": self.log_level},
        }


class Misunderstood(Exception):
    """The arguments cannot be understood; the sentence says why."""


class CommandParser(argparse.ArgumentParser):
    """argparse for commands that have options of their own; what it quotes is escaped."""

    def error(self, message: str) -> NoReturn:
        super().error(make_printable(message))


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints are one sentence with the nearest option that exists."""

    most = "There is one MODEL at most"

    def error(self, message: str) -> NoReturn:
        raise Misunderstood(f"{message[:1].upper()}{message[1:]}.")

    def unknown(self, option: str) -> NoReturn:
        if not option.startswith("-"):
            raise Misunderstood(f"{self.most}; {option!r} is one too many.")
        name = option.partition("=")[0]
        near = difflib.get_close_matches(name, self._option_string_actions, 1)
        hint = f"; did you mean {near[0]}?" if near else "; --help lists what there is."
        raise Misunderstood(f"There is no option {name}{hint}")


def parser() -> Parser:
    made = Parser(
        prog="tui",
        usage=(
            "tui [MODEL] [options]\n       tui --serve MODEL [options]\n"
            "       tui doctor | list | pull MODEL | rm MODEL | bench MODEL ... | config"
        ),
        description="A terminal workbench for running language models on your own machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    made.add_argument("model", nargs="?", metavar="MODEL", help="a name, or a .gguf file; the built-in `guide` if none")
    mode = made.add_argument_group("mode")
    mode.add_argument("--serve", action="store_true", help="the HTTP server alone, without a screen")
    mode.add_argument("--supervise", action="store_true", help="with --serve: bring the server back when it dies")
    mode.add_argument("-h", "--help", action="help", help="show this and leave")
    mode.add_argument("--version", action="store_true", help="show the version and leave")
    mode.add_argument("--pull", action="store_true", help="download the model first where it is not here")
    add_options(made)
    return made


def add_options(made: argparse.ArgumentParser) -> None:
    """Those that are settings too, and the config file."""
    server = made.add_argument_group("server")
    server.add_argument("--host", type=_filled, metavar="ADDRESS", help="address to bind (127.0.0.1)")
    server.add_argument("-p", "--port", type=_whole, metavar="N", help="port to bind; 0 takes a free one (8080)")
    server.add_argument(
        "--api-key", type=_filled, metavar="KEY", help="what clients must send; made where others can reach us"
    )
    server.add_argument(
        "--cors-origin",
        dest="cors_origins",
        action="append",
        metavar="URL",
        help="web pages from there may call; may be given again",
    )
    server.add_argument("--max-queue", type=_whole, metavar="N", help="requests that may wait; 0 is any number (32)")
    server.add_argument("--queue-timeout", type=_number, metavar="SECONDS", help="how long one may wait (60)")
    model = made.add_argument_group("model")
    model.add_argument("-e", "--engine", type=_filled, metavar="NAME", help="force an engine; `tui doctor` lists them")
    model.add_argument("--slots", type=_whole, metavar="N", help="requests that run at once (by memory)")
    model.add_argument("--ctx-size", type=_whole, metavar="N", help="tokens a request may hold (as the model was made)")
    model.add_argument("--threads", type=_whole, metavar="N", help="threads that decode (as measured)")
    model.add_argument(
        "--kv-type", type=_filled, metavar="TYPE", help="of the KV cache: f16, bf16, f32, q8_0 or q4_0 (f16)"
    )
    model.add_argument(
        "--draft", type=_filled, metavar="NAME", help="guess ahead: prompt-lookup, or a smaller model's name (none)"
    )
    several = made.add_argument_group("several models")
    several.add_argument("--models", type=_names, metavar="A,B,C", help="models to serve; the first is the default")
    several.add_argument(
        "--model-ttl", type=_number, metavar="SECONDS", help="unload a model idle for so long; 0 never (0)"
    )
    several.add_argument(
        "--memory-limit", type=_filled, metavar="SIZE", help="all models together may take: 12GB, 8GiB or 60%%"
    )
    several.add_argument(
        "--auto-route", action="store_true", help="answer requests for `auto` with the model that suits"
    )
    several.add_argument(
        "--route-strategy", type=_filled, metavar="NAME", help="complexity, cheapest-that-fits or round-robin"
    )
    choice = made.add_argument_group("choosing an engine")
    choice.add_argument("--no-benchmark", action="store_true", help="go by priority, measure nothing")
    choice.add_argument("--rebench", action="store_true", help="measure again what was measured before")
    choice.add_argument("--bench-budget", type=_number, metavar="SECONDS", help="how long measuring may take (15)")
    general = made.add_argument_group("general")
    general.add_argument(
        "-C", "--config", type=file_path, metavar="FILE", help="a config file (.toml, .json) for the usual one"
    )
    general.add_argument("--log-level", type=_filled, metavar="LEVEL", help="debug, info, warning or error (info)")


def _filled(text: str) -> str:
    """An option that is there and empty, as an unset variable of a shell makes it, was to be something: not given is
    not what its user means, and of a key it would be the opposite."""
    if not (filled := text.strip()):
        raise argparse.ArgumentTypeError("it is empty; give a value, or leave the option out")
    return filled


def _whole(text: str) -> int:
    try:
        return int(_filled(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error


def _number(text: str) -> float:
    try:
        return float(_filled(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error


def file_path(text: str) -> Path:
    """An option that names a file."""
    return Path(_filled(text))


def _names(text: str) -> list[str]:
    names = [name for part in text.split(",") if (name := part.strip())]
    if not names:
        raise argparse.ArgumentTypeError("give the names of models, with commas between them")
    return names


def config_parser() -> Parser:
    made = Parser(
        prog="tui config",
        usage="tui config [path] [--json] [--show-secrets] [options of tui]",
        description="Print the settings in force as TOML, and where each comes from.",
        allow_abbrev=False,
        add_help=False,
    )
    made.most = "`tui config` takes the word path, or none"
    made.add_argument("what", nargs="?", metavar="path", help="print the config file's path alone")
    made.add_argument("-h", "--help", action="help", help="show this and leave")
    made.add_argument("--json", dest="as_json", action="store_true", help="for programs")
    made.add_argument("--show-secrets", action="store_true", help="print keys as they are, instead of ***")
    add_options(made)
    return made


def parse(words: Sequence[str]) -> Arguments:
    """Raises Misunderstood; `--help` ends the process as argparse does."""
    made = parser()
    known, rest = made.parse_known_args(words, namespace=Arguments())
    if rest:
        made.unknown(rest[0])
    if known.supervise and not known.serve:
        raise Misunderstood("--supervise goes with --serve; a screen is not brought back by itself.")
    known.words = tuple(words)
    return known


def parse_config(words: Sequence[str]) -> Arguments:
    """Those of `tui config`. Raises Misunderstood; `--help` ends the process."""
    made = config_parser()
    known, rest = made.parse_known_args(words, namespace=Arguments())
    if known.what not in (None, "path"):
        rest = [*rest, known.what]
    if rest:
        made.unknown(rest[0])
    return known
