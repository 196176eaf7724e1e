"""The arguments of each command of `tui`, as functions that add them to its parser."""

from __future__ import annotations

import argparse

from tui.cli.arguments import (
    add_named,
    add_settings,
    read_count,
    read_file_path,
    read_filled,
    read_number,
    read_whole,
)


def add_nothing(parser: argparse.ArgumentParser) -> None:
    """The command takes no arguments of its own."""


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def add_workbench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a name, or a .gguf file; the built-in `guide` if none"
    )
    mode = parser.add_argument_group("mode")
    mode.add_argument("--serve", action="store_true", help="the HTTP server alone, without a screen")
    mode.add_argument("--supervise", action="store_true", help="with --serve: bring the server back when it dies")
    mode.add_argument("--version", action="store_true", help="show the version and leave")
    mode.add_argument("--pull", action="store_true", help="download the model first where it is not here")
    add_settings(parser)


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    # `tui list models` is another way to ask for the catalog.
    parser.add_argument("what", nargs="?", metavar="models", help="the same as --catalog")
    parser.add_argument("--catalog", action="store_true", help="models that have short names, wherever they are")
    add_json(parser)


def add_pull_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        nargs="?",
        type=read_filled,
        metavar="MODEL",
        help="owner/name, owner/name:Q4_K_M, or a name of the catalog",
    )
    parser.add_argument("--resume", action="store_true", help="go on with all that are paused or were broken off")
    add_named(parser, "downloads.bandwidth", "downloads.concurrency")


def add_rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=read_filled, metavar="NAME", help="as `tui list` shows it, an alias, or a path")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def add_bench_arguments(parser: argparse.ArgumentParser) -> None:
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


def add_fit_arguments(parser: argparse.ArgumentParser) -> None:
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
    add_json(parser)
    add_named(parser, "model.kv_type", "model.slots", "model.gpu_layers", "model.cpu_moe")


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "program", nargs="?", type=read_filled, metavar="PROGRAM", help="without one, list what there is"
    )
    parser.add_argument("model", nargs="?", type=read_filled, metavar="MODEL", help="the model it talks with")
    parser.add_argument("--print", action="store_true", help="show what would be set, as lines for a shell")
    parser.add_argument("--pull", action="store_true", help="download the model first where it is not here")
    add_settings(parser)


def add_usage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=("day", "model", "key"), help="sums by one of them, in place of all three")
    parser.add_argument(
        "--since",
        type=read_filled,
        metavar="DAY",
        help="from a day on: 2026-03-04, today, or 7d",
    )
    add_json(parser)
    parser.add_argument("--csv", action="store_true", help="as CSV")


def add_chats_ls_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", type=read_count, metavar="N", help="the last so many (all)")
    add_json(parser)


def add_chats_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "query", nargs="+", type=read_filled, metavar="WORD", help="all of them must stand in a conversation"
    )
    parser.add_argument("--whole", action="store_true", help="the last word is whole, and not a beginning")
    add_chats_ls_arguments(parser)


def add_chats_show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=read_filled, metavar="CHAT", help="the beginning of its id, or its title")
    parser.add_argument("--json", action="store_true", help="as JSON, with all branches")


def add_chats_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", type=read_filled, metavar="CHAT", help="ids or titles (all)")
    parser.add_argument("--to", type=read_file_path, metavar="FILE", help="in place of stdout; .md is Markdown")
    parser.add_argument("--format", choices=("json", "markdown"), help="by the file's name, else json")


def add_chats_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", type=read_file_path, metavar="FILE", help="JSON or Markdown")


def add_chats_rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", type=read_filled, metavar="CHAT", help="ids or titles")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def add_cache_rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="?", type=read_filled, metavar="NAME", help="of one prefix, or of a model with all"
    )
    parser.add_argument("--all", action="store_true", help="all prefixes of all models")


def add_requests_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", type=read_count, default=50, metavar="N", help="the last so many (50)")
    add_json(parser)


def add_requests_show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", type=read_filled, metavar="REQUEST", help="its number, its id, or how that begins or ends"
    )
    parser.add_argument("--raw", action="store_true", help="the reply as it was sent, in place of its text")
    add_json(parser)


def add_requests_diff_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("name", "other"):
        parser.add_argument(name, type=read_filled, metavar="REQUEST", help="its number or id")


def add_requests_export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", type=read_filled, metavar="REQUEST", help="numbers or ids; all if none")
    parser.add_argument(
        "--scenario", type=read_file_path, metavar="FILE", help="write a file for `tui replay`, in place of curl lines"
    )


def add_requests_rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", type=read_filled, metavar="REQUEST", help="its number or id")
    parser.add_argument("--all", action="store_true", help="all of them")


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
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
    add_json(parser)
    add_named(parser, "server.api_keys")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--show-secrets", action="store_true", help="print keys as they are, instead of ***")
    add_settings(parser)


def add_config_import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=read_file_path, metavar="FILE", help="the JSON file")
    parser.add_argument("--force", action="store_true", help="replace the config file that is there")
