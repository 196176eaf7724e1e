"""The commands of `tui`: for each its name, its help, its arguments, and where the code is that does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tui.cli.arguments import (
    Arguments,
    Misunderstood,
    Parser,
    add_named,
    add_settings,
    find_nearest,
    read_count,
    read_file_path,
    read_filled,
    read_number,
    read_whole,
)

Add = Callable[[argparse.ArgumentParser], None]
CONFIG: Final = ("-C", "--config")


class Command(NamedTuple):
    name: str
    """The words that begin it; empty for the workbench itself."""
    usage: str
    """What may follow the name."""
    help: str
    """A line without a full stop."""
    add: Add
    """Adds its arguments."""
    handler: str
    """`module:function`; the function takes Arguments and returns the exit code. It raises BenchtopError."""
    passes_on: bool = False
    """What stands behind `--` is another program's."""


def find_command(words: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that the words begin with, and what follows its name. `-C FILE list` is `list -C FILE`."""
    given = list(words)
    if len(given) > 2 and given[0] in CONFIG and given[2] in {each.name for each in COMMANDS}:
        given = [given[2], *given[:2], *given[3:]]
    # A name of two words comes before its first word alone.
    for command in sorted(COMMANDS, key=lambda each: -len(each.name)):
        name = command.name.split()
        if given[: len(name)] == name:
            return command, given[len(name) :]
    if parts := [each.name.split()[1] for each in COMMANDS if given and each.name.startswith(f"{given[0]} ")]:
        help_ = f"one of these; `tui {given[0]} {parts[0]} --help` tells more"
        return Command(given[0], " | ".join(parts), help_, _add_nothing, "tui.cli.commands:refuse_group"), given[1:]
    return WORKBENCH, given


def refuse_group(given: Arguments) -> int:
    """The first word of commands of two words, alone. Raises Misunderstood."""
    group, _ = find_command(given.words)
    raise Misunderstood(f"`tui {group.name}` is not a whole command; write `tui {group.name} {group.usage}`.")


def guess_command(command: Command, words: Sequence[str]) -> str:
    """A hint for whoever misspelled a command, or takes an option for one; empty where nothing is near. `command` is
    the one that `words` were taken for."""
    if words[:1] == ["serve"]:
        return " To serve a model, write `tui --serve MODEL`."
    if command is not WORKBENCH and command not in COMMANDS:
        # The usage has named all of the group.
        return ""
    further = tuple(each.name for each in COMMANDS if each.name.startswith(command.name) and each is not command)
    length = len(command.name.split()) + 1
    for given in (words[: length + 1], words[:length]):
        if given and not given[-1].startswith("-") and (near := find_nearest(" ".join(given), further)):
            return f" Did you mean `tui {near}`?"
    return ""


def build_parser(command: Command) -> Parser:
    """The parser of what follows a command's name."""
    program = f"tui {command.name}".strip()
    parser = Parser(
        prog=program,
        usage=f"{program} {command.usage}".strip(),
        description=f"{command.help[:1].upper()}{command.help[1:]}.",
        epilog=_epilog() if command is WORKBENCH else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        add_help=False,
    )
    command.add(parser)
    always = parser.add_argument_group("always")
    always.add_argument(
        *CONFIG, dest="config", type=read_file_path, metavar="FILE", help="the config file, in place of the usual one"
    )
    always.add_argument("-h", "--help", action="help", help="show this and leave")
    return parser


def _epilog() -> str:
    names = {f"tui {each.name} {each.usage.removesuffix('[options]')}".rstrip(): each.help for each in COMMANDS}
    width = max(map(len, names))
    commands = "\n".join(f"  {name.ljust(width)}  {words}" for name, words in names.items())
    return f"""\
commands; each has a --help of its own:
{commands}

examples:
  tui                   open the workbench with the built-in model
  tui ~/model.gguf      the same with a model of yours
  tui --serve guide     serve it to any OpenAI client, without a screen

Options may also stand in a config file or in the environment: --port is `port` in the section [server],
or BENCHTOP_SERVER_PORT. Models are tables there, [models.NAME]; the first one is the default.
"""


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    """The command takes no arguments of its own."""


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def _add_workbench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a name, or a .gguf file; the built-in `guide` if none"
    )
    mode = parser.add_argument_group("mode")
    mode.add_argument("--serve", action="store_true", help="the HTTP server alone, without a screen")
    mode.add_argument("--supervise", action="store_true", help="with --serve: bring the server back when it dies")
    mode.add_argument("--version", action="store_true", help="show the version and leave")
    mode.add_argument("--pull", action="store_true", help="download the model first where it is not here")
    add_settings(parser)


def _add_list(parser: argparse.ArgumentParser) -> None:
    # `tui list models` is another way to ask for the catalog.
    parser.add_argument("what", nargs="?", metavar="models", help="the same as --catalog")
    parser.add_argument("--catalog", action="store_true", help="models that have short names, wherever they are")
    _add_json(parser)


def _add_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        type=read_filled,
        metavar="MODEL",
        help="owner/name, owner/name:Q4_K_M, or a name of the catalog",
    )
    parser.add_argument("--resume", action="store_true", help="go on with all that are paused or were broken off")
    add_named(parser, "downloads.bandwidth", "downloads.concurrency")


def _add_rm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=read_filled, metavar="NAME", help="as `tui list` shows it, an alias, or a path")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", type=read_filled, metavar="MODEL", help="a name, a .gguf file, a folder")
    parser.add_argument(
        "-e", "--engine", dest="model.engine", type=read_filled, metavar="NAME", help="this engine alone"
    )
    parser.add_argument("--rounds", type=read_whole, metavar="N", help="of speed: rounds of each case (5)")
    parser.add_argument("--prompt", type=read_whole, metavar="N", help="of speed: tokens of the prompt (256)")
    parser.add_argument("--decode", type=read_whole, metavar="N", help="of speed: tokens decoded (48)")
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=V,V",
        help="threads, batch, micro_batch, kv or depth, with --quality kv alone; may be given again",
    )
    parser.add_argument(
        "--quality",
        action="store_true",
        help="how much worse each model and KV type tells a text than the best of them, in place of speed",
    )
    parser.add_argument(
        "--tools", action="store_true", help="how well each model calls tools, by eight questions, in place of speed"
    )
    parser.add_argument(
        "--text", type=read_file_path, metavar="FILE", help="for --quality: what they read (Python's reference)"
    )
    parser.add_argument("--chunks", type=read_whole, metavar="N", help="for --quality: of 512 tokens of the text (8)")
    add_named(parser, "bench.fresh")
    for name in ("json", "csv", "markdown"):
        parser.add_argument(f"--{name}", type=read_file_path, metavar="FILE", help=f"write the rows as {name}")


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=read_filled, metavar="MODEL", help="a name, a .gguf file, a folder, owner/name at the Hub"
    )
    parser.add_argument(
        "--vram",
        action="append",
        default=[],
        type=read_filled,
        metavar="SIZE",
        help="of a card of another machine, as 12GB; once for each card",
    )
    parser.add_argument("--ram", type=read_filled, metavar="SIZE", help="free main memory of another machine")
    parser.add_argument(
        "--card", type=read_filled, metavar="NAME", help="what its cards are, as in 'rtx 3060': tells how fast"
    )
    parser.add_argument("--context", type=read_whole, metavar="N", help="tokens of a request (as it would be loaded)")
    _add_json(parser)
    add_named(parser, "model.kv_type", "model.slots", "model.gpu_layers", "model.cpu_moe")


def _add_launch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "program", nargs="?", type=read_filled, metavar="PROGRAM", help="without one, list what there is"
    )
    parser.add_argument("model", nargs="?", type=read_filled, metavar="MODEL", help="the model it talks with")
    parser.add_argument("--print", action="store_true", help="show what would be set, as lines for a shell")
    parser.add_argument("--pull", action="store_true", help="download the model first where it is not here")
    add_settings(parser)


def _add_usage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=("day", "model", "key"), help="sums by one of them, in place of all three")
    parser.add_argument(
        "--since",
        type=read_filled,
        metavar="DAY",
        help="from a day on: 2026-03-04, today, or 7d",
    )
    _add_json(parser)
    parser.add_argument("--csv", action="store_true", help="as CSV")


def _add_chats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", type=read_count, metavar="N", help="the last so many (all)")
    _add_json(parser)


def _add_chats_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "query", nargs="+", type=read_filled, metavar="WORD", help="all of them must stand in a conversation"
    )
    parser.add_argument("--whole", action="store_true", help="the last word is whole, and not a beginning")
    _add_chats(parser)


def _add_chats_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=read_filled, metavar="CHAT", help="the beginning of its id, or its title")
    parser.add_argument("--json", action="store_true", help="as JSON, with all branches")


def _add_chats_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", type=read_filled, metavar="CHAT", help="ids or titles (all)")
    parser.add_argument("--to", type=read_file_path, metavar="FILE", help="in place of stdout; .md is Markdown")
    parser.add_argument("--format", choices=("json", "markdown"), help="by the file's name, else json")


def _add_chats_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", type=read_file_path, metavar="FILE", help="JSON or Markdown")


def _add_chats_rm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", type=read_filled, metavar="CHAT", help="ids or titles")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _add_cache_rm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", type=read_filled, metavar="NAME", help="of one prefix, or of a model with all"
    )
    parser.add_argument("--all", action="store_true", help="all prefixes of all models")


def _add_requests(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", type=read_count, default=50, metavar="N", help="the last so many (50)")
    _add_json(parser)


def _add_request(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", type=read_filled, metavar="REQUEST", help="its number, its id, or how that begins or ends"
    )
    parser.add_argument("--raw", action="store_true", help="the reply as it was sent, in place of its text")
    _add_json(parser)


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    for name in ("name", "other"):
        parser.add_argument(name, type=read_filled, metavar="REQUEST", help="its number or id")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", type=read_filled, metavar="REQUEST", help="numbers or ids; all if none")
    parser.add_argument(
        "--scenario", type=read_file_path, metavar="FILE", help="write a file for `tui replay`, in place of curl lines"
    )


def _add_requests_rm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", type=read_filled, metavar="REQUEST", help="its number or id")
    parser.add_argument("--all", action="store_true", help="all of them")


def _add_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", type=read_filled, metavar="REQUEST|FILE", help="as `tui requests` lists it, or a scenario's file"
    )
    parser.add_argument("--model", type=read_filled, metavar="MODEL", help="ask this model in place of the same one")
    parser.add_argument(
        "--server", type=read_filled, metavar="URL", help="where to send it (the address of the settings)"
    )
    parser.add_argument(
        "--speed",
        type=read_number,
        metavar="X",
        help="of a scenario: times as fast; 0 sends all at once (1)",
    )
    _add_json(parser)
    add_named(parser, "server.api_keys")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--show-secrets", action="store_true", help="print keys as they are, instead of ***")
    add_settings(parser)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=read_file_path, metavar="FILE", help="the JSON file")
    parser.add_argument("--force", action="store_true", help="replace the config file that is there")


WORKBENCH: Final = Command(
    "",
    "[MODEL] [options]",
    "a terminal workbench for running language and speech models on your own machine",
    _add_workbench,
    "tui.cli.start:start_workbench",
)
COMMANDS: Final = (
    Command(
        "doctor",
        "[options]",
        "tell which engines run here, which do not, and what mends them",
        _add_json,
        "tui.cli.doctor:run_doctor",
    ),
    Command(
        "list",
        "[models] [options]",
        "list the models on this machine, or with --catalog those that have short names",
        _add_list,
        "tui.cli.list_models:run_list",
    ),
    Command(
        "pull",
        "MODEL [options]",
        "download a model into the Hub's cache, or go on with it; with --resume all that were broken off",
        _add_pull,
        "tui.cli.pull:run_pull",
    ),
    Command(
        "rm",
        "NAME [options]",
        "delete a model from the Hub's cache, or from a folder of library.folders",
        _add_rm,
        "tui.cli.rm:run_rm",
    ),
    Command(
        "bench",
        "MODEL ... [options]",
        "measure the engines that can run a model here, side by side",
        _add_bench,
        "tui.cli.bench:run_bench",
    ),
    Command(
        "fit",
        "MODEL [options]",
        "tell which quants of a model fit here or on another machine, where they would lie and how fast they would be",
        _add_fit,
        "tui.cli.fit:run_fit",
    ),
    Command(
        "launch",
        "PROGRAM [MODEL] [options] [-- ARGUMENTS]",
        "run a coding agent on a model of this machine: claude, codex, opencode, qwen, cline, aider, llm",
        _add_launch,
        "tui.cli.launch:run_launch",
        passes_on=True,
    ),
    Command(
        "usage",
        "[options]",
        "tell what requests have used: tokens and time by day, model and API key",
        _add_usage,
        "tui.cli.usage:run_usage",
    ),
    Command(
        "chats ls",
        "[options]",
        "list the conversations of the chat, those that were changed last first",
        _add_chats,
        "tui.cli.chats:list_chats",
    ),
    Command(
        "chats search",
        "WORD ... [options]",
        "find conversations by words in their titles and messages",
        _add_chats_search,
        "tui.cli.chats:search_chats",
    ),
    Command(
        "chats show",
        "CHAT [options]",
        "print a conversation",
        _add_chats_show,
        "tui.cli.chats:show_chat",
    ),
    Command(
        "chats export",
        "[CHAT ...] [options]",
        "write conversations as JSON, or one as Markdown; both can be imported",
        _add_chats_export,
        "tui.cli.chats:export_chats",
    ),
    Command(
        "chats import",
        "FILE ...",
        "take in conversations of exported files; what is known already stays",
        _add_chats_import,
        "tui.cli.chats:import_chats",
    ),
    Command(
        "chats rm",
        "CHAT ... | --all [options]",
        "delete conversations for good",
        _add_chats_rm,
        "tui.cli.chats:remove_chats",
    ),
    Command(
        "cache ls",
        "[options]",
        "list the prompts' prefixes that are stored on disk, those used last first",
        _add_json,
        "tui.cli.cache:list_prefixes",
    ),
    Command(
        "cache rm",
        "NAME | --all",
        "delete stored prefixes",
        _add_cache_rm,
        "tui.cli.cache:remove_prefixes",
    ),
    Command(
        "cache verify",
        "",
        "read all stored prefixes, and delete those that are damaged",
        _add_nothing,
        "tui.cli.cache:verify_prefixes",
    ),
    Command(
        "requests",
        "[options]",
        "list the requests that a server with --capture kept, the newest first",
        _add_requests,
        "tui.cli.requests:list_requests",
    ),
    Command(
        "requests show",
        "REQUEST [options]",
        "print a captured request with its reply",
        _add_request,
        "tui.cli.requests:show_request",
    ),
    Command(
        "requests diff",
        "REQUEST REQUEST",
        "print where two captured requests differ, and where their answers do",
        _add_comparison,
        "tui.cli.requests:compare_requests",
    ),
    Command(
        "requests export",
        "[REQUEST ...] [options]",
        "print captured requests as curl lines, or write them as a scenario",
        _add_export,
        "tui.cli.requests:export_requests",
    ),
    Command(
        "requests rm",
        "REQUEST | --all",
        "forget captured requests",
        _add_requests_rm,
        "tui.cli.requests:remove_requests",
    ),
    Command(
        "replay",
        "REQUEST|FILE [options]",
        "send a captured request again, or a scenario, to the same model or another",
        _add_replay,
        "tui.cli.replay:run_replay",
    ),
    Command(
        "config",
        "[options]",
        "print the settings in force as TOML, and where each comes from",
        _add_config,
        "tui.cli.config:run_config",
    ),
    Command(
        "config import",
        "FILE [options]",
        "write the config file from a JSON one, of llama-cpp-python's server or in the layout of ours",
        _add_import,
        "tui.cli.config_import:import_config",
    ),
    Command(
        "config options",
        "",
        "print the load options as a table: option, key, values, help",
        _add_nothing,
        "tui.cli.config:print_options",
    ),
    Command("config path", "", "print the path of the config file alone", _add_nothing, "tui.cli.config:print_path"),
)
