"""`tui replay`: a captured request, or a scenario of them, sent again, to the same model or another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table

from core.capture.export import ScenarioStep, make_scenario, read_scenario
from core.capture.legible import compare_lines, read_answer
from core.capture.replay import Replayed, Replayer, count_answer_tokens
from core.errors import UsageError
from tui import format as fmt
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import write_json, write_text
from tui.cli.requests import find_url, open_ring, print_diff

FAILED_STATUS = 1
MOST_SPEED_FACTOR = 1_000_000


def run_replay(given: Arguments) -> int:
    """Send it, print what came of it; 1 where a request failed. Raises BenchtopError."""
    speed = 1.0 if given.speed is None else given.speed
    if not 0 <= speed <= MOST_SPEED_FACTOR:
        raise UsageError(f"--speed is 0 to {MOST_SPEED_FACTOR:,}.")
    settings, ring = open_ring(given)
    url = (given.server or find_url(settings.server)).rstrip("/").removesuffix("/v1")
    # A key of the settings is for the server of the settings; another one is given it only by hand.
    own = given.server is None or "api_keys" in given.flags().get("server", {})
    replayer = Replayer(url, key=next(iter(settings.server.api_keys), None) if own else None, model=given.model)
    path = Path(given.what)
    if path.is_file():
        return _replay_scenario(replayer, read_scenario(path), speed, as_json=given.json)
    if given.speed is not None:
        raise UsageError(f"--speed is for scenarios, and {given.what!r} is no file of one.")
    _, exchange = ring.find(given.what)
    (step,) = make_scenario([exchange])
    replayed = asyncio.run(replayer.send(step))
    if given.json:
        write_json(_describe(replayed))
        return 0 if replayed.ok else FAILED_STATUS
    before, after = read_answer(exchange), replayed.answer
    write_text(after or replayed.exchange.reply.decode("utf-8", "replace"))
    paper = Paper()
    if replayed.ok and before != after:
        write_text("")
        print_diff(paper, compare_lines(before.splitlines(), after.splitlines(), ("then", "now")))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("status", "first byte", "whole", "tokens", "tokens/s"):
        table.add_column(heading, justify="right")
    then = Replayed(exchange, count_answer_tokens(exchange))
    for name, each in (("then", then), ("now", replayed)):
        table.add_row(name, *_cells(each))
    paper.print(table)
    if replayed.ok and before == after:
        write_text("The answer is the same.")
    return 0 if replayed.ok else FAILED_STATUS


def _replay_scenario(replayer: Replayer, steps: Sequence[ScenarioStep], speed: float, *, as_json: bool) -> int:
    done = asyncio.run(replayer.run(steps, speed=speed))
    failed = [each for each in done if not each.ok]
    if as_json:
        write_json([_describe(each) for each in done])
        return FAILED_STATUS if failed else 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("path")
    for heading in ("status", "first byte", "whole", "tokens", "tokens/s"):
        table.add_column(heading, justify="right")
    for each in done:
        table.add_row(fmt.clip_text(each.exchange.path, 32), *_cells(each))
    paper = Paper()
    paper.print(table)
    began = min(each.exchange.began for each in done)
    seconds = max(each.exchange.began + each.exchange.seconds for each in done) - began
    tokens = sum(each.tokens or 0 for each in done)
    firsts = [each.exchange.first for each in done if each.exchange.first is not None]
    rate = fmt.format_rate(tokens / seconds if seconds else 0.0)
    usual = fmt.format_seconds(median(firsts)) if firsts else "-"
    paper.tell(
        f"{fmt.format_plural(len(done), 'request')} in {fmt.format_seconds(seconds)}, {len(failed)} failed; "
        f"{fmt.format_plural(tokens, 'token')}, {rate} a second; first byte after {usual} in the median."
    )
    return FAILED_STATUS if failed else 0


def _cells(replayed: Replayed) -> tuple[str, ...]:
    exchange, rate = replayed.exchange, replayed.rate
    return (
        str(exchange.status or "-"),
        fmt.format_seconds(exchange.first) if exchange.first is not None else "-",
        fmt.format_seconds(exchange.seconds),
        fmt.format_count(replayed.tokens) if replayed.tokens is not None else "-",
        fmt.format_rate(rate) if rate is not None else "-",
    )


def _describe(replayed: Replayed) -> dict[str, object]:
    exchange = replayed.exchange
    return {
        "request_id": exchange.request_id,
        "path": exchange.path,
        "status": exchange.status,
        "first": exchange.first,
        "seconds": exchange.seconds,
        "tokens": replayed.tokens,
        "rate": replayed.rate,
        "answer": replayed.answer,
    }
