"""`tui requests` and its like: the requests that a server kept, shown, compared, exported, forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.style import Style
from rich.table import Table
from rich.text import Text

from api.curl import KEY_VARIABLE
from core.capture.exchange import CapturedRequest
from core.capture.export import format_captured_curl, make_scenario, write_scenario
from core.capture.legible import compare_lines, list_request_lines, read_answer
from core.capture.ring import CapturedLine, CaptureRing
from core.errors import UsageError
from core.files import write_atomically
from core.foreign_text import make_printable
from core.hosts import find_reachable, quote_host
from core.settings.keys import has_keys
from core.settings.load import load_settings
from core.settings.schema import ServerSettings, Settings, find_folders
from core.sizes import format_size
from tui import format as fmt
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.output import check_target, write_json, write_text

WIDE_COLUMNS = 110
"""Of a terminal that has room for ids and sizes."""
_DIFF_STYLES = {"+": Style(color="green"), "-": Style(color="red"), "@": Style(color="cyan")}


def list_requests(given: Arguments) -> int:
    """Print the captured requests on stdout, the newest first. Raises BenchtopError."""
    settings, ring = open_ring(given)
    lines = ring.list_lines(given.last)
    if given.json:
        write_json(lines)
        return 0
    if not lines:
        hint = "" if settings.capture.requests else "; `tui --serve MODEL --capture 100` keeps the last hundred"
        write_text(f"No requests are captured{hint}.")
        return 0
    paper = Paper()
    wide = paper.width >= WIDE_COLUMNS
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("no.", justify="right")
    for heading in ("when", *(("request",) if wide else ())):
        table.add_column(heading, no_wrap=True)
    # Where there is too little room, these give way, and not the figures.
    for heading in ("path", "model"):
        table.add_column(heading, overflow="ellipsis")
    for heading in ("status", *(("asked", "answered") if wide else ()), "first", "took"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*_cells(line, wide=wide))
    paper.print(table)
    return 0


def show_request(given: Arguments) -> int:
    """Print one request with its reply. Raises BenchtopError."""
    _, ring = open_ring(given)
    place, exchange = ring.find(given.name)
    if given.json:
        write_json(_describe(place, exchange))
        return 0
    when = datetime.fromtimestamp(exchange.began, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    write_text(f"{place}: {exchange.method} {exchange.path}, {exchange.request_id}, {when}")
    for name, value in exchange.headers.items():
        write_text(f"{name}: {value}")
    write_text("\n" + "\n".join(list_request_lines(exchange)))
    if not exchange.is_whole:
        write_text(f"... {len(exchange.body):,} of {exchange.body_bytes:,} bytes were kept.")
    took = fmt.format_seconds(exchange.seconds)
    write_text(f"\n{exchange.status or 'no reply'} after {took}, {format_size(exchange.reply_bytes)}")
    if exchange.reply:
        raw = exchange.reply.decode("utf-8", "replace")
        write_text("\n" + (raw if given.raw else read_answer(exchange) or raw))
    if len(exchange.reply) < exchange.reply_bytes:
        write_text(f"... {len(exchange.reply):,} of {exchange.reply_bytes:,} bytes were kept.")
    return 0


def compare_requests(given: Arguments) -> int:
    """Print where two requests differ, and their answers; 1 where they do, as `diff` says it. Raises BenchtopError."""
    _, ring = open_ring(given)
    (first, before), (second, after) = ring.find(given.name), ring.find(given.other)
    paper = Paper()
    asked = compare_lines(list_request_lines(before), list_request_lines(after), (str(first), str(second)))
    answers = read_answer(before).splitlines(), read_answer(after).splitlines()
    answered = compare_lines(*answers, (f"answer of {first}", f"answer of {second}"))
    print_diff(paper, asked)
    print_diff(paper, answered)
    if not asked and not answered:
        write_text("They are the same, request and answer.")
    return 1 if asked or answered else 0


def export_requests(given: Arguments) -> int:
    """Print curl lines, or write a scenario. Raises BenchtopError."""
    if given.scenario is not None:
        check_target(given.scenario)
    settings, ring = open_ring(given)
    names = given.names or [str(line.place) for line in reversed(ring.list_lines())]
    exchanges = [ring.find(name)[1] for name in names]
    if not exchanges:
        raise UsageError("No requests are captured, so there is nothing to export.")
    if given.scenario is None:
        host = find_url(settings.server)
        key = KEY_VARIABLE if has_keys(settings.server) else None
        for exchange in exchanges:
            write_text(format_captured_curl(exchange, host, key_variable=key))
        return 0
    steps = make_scenario(exchanges)
    path: Path = given.scenario
    try:
        write_atomically(path, write_scenario(steps))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}.") from error
    write_text(f"{fmt.format_plural(len(steps), 'request')} in {path}; `tui replay {path}` sends them again.")
    return 0


def remove_requests(given: Arguments) -> int:
    """Forget one captured request, or all. Raises BenchtopError."""
    if bool(given.name) == given.all:
        raise UsageError("Name a request as `tui requests` shows it, or say --all.")
    _, ring = open_ring(given)
    removed = ring.remove(None if given.all else [ring.find(given.name)[0]])
    ring.close()
    write_text(f"Forgot {fmt.format_plural(removed, 'request')}.")
    return 0


def open_ring(given: Arguments) -> tuple[Settings, CaptureRing]:
    """Raises BenchtopError for settings that cannot be read."""
    settings = load_settings(given.flags(), config_file=given.config)
    return settings, CaptureRing(find_folders(), settings.capture)


def find_url(server: ServerSettings) -> str:
    """Where a server with these settings is asked from this machine."""
    return f"http://{quote_host(find_reachable(server.host))}:{server.port}"


def print_diff(paper: Paper, lines: Sequence[str]) -> None:
    """A unified diff in colours, where the terminal has them."""
    for line in lines:
        paper.print(Text(make_printable(line), _DIFF_STYLES.get(line[:1], Style())), soft_wrap=True)


def _cells(line: CapturedLine, *, wide: bool) -> Iterator[str]:
    yield str(line.place)
    yield datetime.fromtimestamp(line.began, UTC).astimezone().strftime("%m-%d %H:%M:%S")
    if wide:
        yield fmt.clip_text(line.request_id, 18)
    yield fmt.clip_text(line.path, 24)
    yield fmt.clip_text(line.model, 18)
    yield str(line.status or "-")
    if wide:
        yield format_size(line.body_bytes)
        yield format_size(line.reply_bytes)
    yield fmt.format_seconds(line.first) if line.first is not None else "-"
    yield fmt.format_seconds(line.seconds)


def _describe(place: int, exchange: CapturedRequest) -> dict[str, object]:
    """For programs: bodies as text."""
    return {
        "place": place,
        "request_id": exchange.request_id,
        "began": exchange.began,
        "seconds": exchange.seconds,
        "first": exchange.first,
        "method": exchange.method,
        "path": exchange.path,
        "headers": exchange.headers,
        "body": exchange.body.decode("utf-8", "replace"),
        "body_bytes": exchange.body_bytes,
        "status": exchange.status,
        "reply_type": exchange.reply_type,
        "reply": exchange.reply.decode("utf-8", "replace"),
        "reply_bytes": exchange.reply_bytes,
        "answer": read_answer(exchange),
    }
