"""The commands of `tui`: for each its name, its help, what adds its arguments, and where the code is that does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tui.cli.arguments import (
    Arguments,
    Misunderstood,
    Parser,
    find_nearest,
    read_file_path,
)
from tui.cli.command_arguments import (
    add_bench_arguments,
    add_cache_rm_arguments,
    add_chats_export_arguments,
    add_chats_import_arguments,
    add_chats_ls_arguments,
    add_chats_rm_arguments,
    add_chats_search_arguments,
    add_chats_show_arguments,
    add_config_arguments,
    add_config_import_arguments,
    add_fit_arguments,
    add_json,
    add_launch_arguments,
    add_list_arguments,
    add_nothing,
    add_pull_arguments,
    add_replay_arguments,
    add_requests_arguments,
    add_requests_diff_arguments,
    add_requests_export_arguments,
    add_requests_rm_arguments,
    add_requests_show_arguments,
    add_rm_arguments,
    add_usage_arguments,
    add_workbench_arguments,
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
        return Command(given[0], " | ".join(parts), help_, add_nothing, "tui.cli.commands:refuse_group"), given[1:]
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
        is_name = given and not any(word.startswith("-") for word in given)
        if is_name and (near := find_nearest(" ".join(given), further)):
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


WORKBENCH: Final = Command(
    "",
    "[MODEL] [options]",
    "a terminal workbench for running language and speech models on your own machine",
    add_workbench_arguments,
    "tui.cli.start:start_workbench",
)
COMMANDS: Final = (
    Command(
        "doctor",
        "[options]",
        "tell which engines run here, which do not, and what mends them",
        add_json,
        "tui.cli.doctor:run_doctor",
    ),
    Command(
        "list",
        "[models] [options]",
        "list the models on this machine, or with --catalog those that have short names",
        add_list_arguments,
        "tui.cli.list_models:run_list",
    ),
    Command(
        "pull",
        "MODEL [options]",
        "download a model into the Hub's cache, or go on with it; with --resume all that were broken off",
        add_pull_arguments,
        "tui.cli.pull:run_pull",
    ),
    Command(
        "rm",
        "NAME [options]",
        "delete a model from the Hub's cache, or from a folder of library.folders",
        add_rm_arguments,
        "tui.cli.rm:run_rm",
    ),
    Command(
        "bench",
        "MODEL ... [options]",
        "measure the engines that can run a model here, side by side",
        add_bench_arguments,
        "tui.cli.bench:run_bench",
    ),
    Command(
        "fit",
        "MODEL [options]",
        "tell which quants of a model fit here or on another machine, where they would lie and how fast they would be",
        add_fit_arguments,
        "tui.cli.fit:run_fit",
    ),
    Command(
        "launch",
        "PROGRAM [MODEL] [options] [-- ARGUMENTS]",
        "run a coding agent on a model of this machine: claude, codex, opencode, qwen, cline, aider, llm",
        add_launch_arguments,
        "tui.cli.launch:run_launch",
        passes_on=True,
    ),
    Command(
        "usage",
        "[options]",
        "tell what requests have used: tokens and time by day, model and API key",
        add_usage_arguments,
        "tui.cli.usage:run_usage",
    ),
    Command(
        "chats ls",
        "[options]",
        "list the conversations of the chat, those that were changed last first",
        add_chats_ls_arguments,
        "tui.cli.chats:list_chats",
    ),
    Command(
        "chats search",
        "WORD ... [options]",
        "find conversations by words in their titles and messages",
        add_chats_search_arguments,
        "tui.cli.chats:search_chats",
    ),
    Command(
        "chats show",
        "CHAT [options]",
        "print a conversation",
        add_chats_show_arguments,
        "tui.cli.chats:show_chat",
    ),
    Command(
        "chats export",
        "[CHAT ...] [options]",
        "write conversations as JSON, or one as Markdown; both can be imported",
        add_chats_export_arguments,
        "tui.cli.chats:export_chats",
    ),
    Command(
        "chats import",
        "FILE ...",
        "take in conversations of exported files; what is known already stays",
        add_chats_import_arguments,
        "tui.cli.chats:import_chats",
    ),
    Command(
        "chats rm",
        "CHAT ... | --all [options]",
        "delete conversations for good",
        add_chats_rm_arguments,
        "tui.cli.chats:remove_chats",
    ),
    Command(
        "cache ls",
        "[options]",
        "list the prompts' prefixes that are stored on disk, those used last first",
        add_json,
        "tui.cli.cache:list_prefixes",
    ),
    Command(
        "cache rm",
        "NAME | --all",
        "delete stored prefixes",
        add_cache_rm_arguments,
        "tui.cli.cache:remove_prefixes",
    ),
    Command(
        "cache verify",
        "",
        "read all stored prefixes, and delete those that are damaged",
        add_nothing,
        "tui.cli.cache:verify_prefixes",
    ),
    Command(
        "requests",
        "[options]",
        "list the requests that a server with --capture kept, the newest first",
        add_requests_arguments,
        "tui.cli.requests:list_requests",
    ),
    Command(
        "requests show",
        "REQUEST [options]",
        "print a captured request with its reply",
        add_requests_show_arguments,
        "tui.cli.requests:show_request",
    ),
    Command(
        "requests diff",
        "REQUEST REQUEST",
        "print where two captured requests differ, and where their answers do",
        add_requests_diff_arguments,
        "tui.cli.requests:compare_requests",
    ),
    Command(
        "requests export",
        "[REQUEST ...] [options]",
        "print captured requests as curl lines, or write them as a scenario",
        add_requests_export_arguments,
        "tui.cli.requests:export_requests",
    ),
    Command(
        "requests rm",
        "REQUEST | --all",
        "forget captured requests",
        add_requests_rm_arguments,
        "tui.cli.requests:remove_requests",
    ),
    Command(
        "replay",
        "REQUEST|FILE [options]",
        "send a captured request again, or a scenario, to the same model or another",
        add_replay_arguments,
        "tui.cli.replay:run_replay",
    ),
    Command(
        "config",
        "[options]",
        "print the settings in force as TOML, and where each comes from",
        add_config_arguments,
        "tui.cli.config:run_config",
    ),
    Command(
        "config import",
        "FILE [options]",
        "write the config file from a JSON one, of llama-cpp-python's server or in the layout of ours",
        add_config_import_arguments,
        "tui.cli.config_import:import_config",
    ),
    Command(
        "config options",
        "",
        "print the load options as a table: option, key, values, help",
        add_nothing,
        "tui.cli.config:print_options",
    ),
    Command("config path", "", "print the path of the config file alone", add_nothing, "tui.cli.config:print_path"),
)
