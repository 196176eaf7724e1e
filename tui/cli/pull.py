"""`tui pull MODEL`: download a model, with its progress on the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn

from core.errors import BenchtopError, UsageError
from core.foreign_text import make_printable
from core.models.downloads.status import DownloadItem, DownloadState
from core.settings.load import load_settings
from core.sizes import format_size
from core.workbench import Workbench
from tui.cli.arguments import Arguments
from tui.cli.console import Paper
from tui.cli.fit_words import describe_fit, judge_quant

if TYPE_CHECKING:
    from core.models.downloads.manager import Downloads
    from core.models.hub.repository import Quant

OK_STATUS = 0
FAILED_STATUS = 1
INTERRUPTED_STATUS = 130
LOOK_SECONDS = 0.2
"""Seconds between two looks at a download."""
PROGRESS_LINES = 10
"""Lines of progress where the output is no terminal."""


def run_pull(given: Arguments) -> int:
    """Download models; 0 when they are here, 1 when that failed, 130 when it was interrupted. Raises BenchtopError."""
    if given.resume == (given.model is not None):
        raise UsageError("Name one MODEL to download, or give --resume alone to go on with all that was broken off.")
    workbench = Workbench(load_settings(given.flags(), config_file=given.config))
    console = Paper(stderr=True)
    store = workbench.models.store
    try:
        if given.resume:
            return OK_STATUS if _resume(store.downloads, console) else INTERRUPTED_STATUS
        quant = store.find(store.read_own(given.model))
        console.tell(f"{quant.name}: {format_size(quant.size)}{describe_fit(judge_quant(store, quant))}.")
        return OK_STATUS if fetch_quant(store.downloads, quant, console, given.model) else INTERRUPTED_STATUS
    finally:
        store.close()


def fetch_quant(downloads: Downloads, quant: Quant, console: Paper, name: str) -> bool:
    """Download the quant that `name` names, with the progress on the console; False when it was interrupted.

    Raises DownloadError and what else keeps it from coming.
    """
    return _ended(_followed(downloads, downloads.enqueue(quant), console), console, name)


def _resume(downloads: Downloads, console: Paper) -> bool:
    """Go on with all; whether all of them are here. Raises BenchtopError, once all ended, when any could not be had."""
    pending = downloads.resume_pending(paused=True)
    if not pending.started and not pending.refused:
        console.tell(
            "No download is paused or was broken off; `tui pull MODEL` goes on with one that has failed.", wrap=False
        )
    items = [_followed(downloads, key, console) for key in pending.started]
    failures = [str(error) for error in pending.refused.values()]
    here = True
    for item in items:
        try:
            here = _ended(item, console, item.name) and here
        except BenchtopError as error:
            failures.append(str(error))
    if failures:
        # Downloads that fail for the same reason are told once.
        *others, last = dict.fromkeys(failures)
        for failure in others:
            console.tell(failure)
        raise BenchtopError(last)
    return here


def _followed(downloads: Downloads, key: str, console: Paper) -> DownloadItem:
    """Show a download until it ends. Ctrl-C pauses it, and a second one leaves at once."""
    view = Bar(console) if console.is_terminal else ProgressLines(console)
    with view:
        try:
            while (item := downloads.wait(key, LOOK_SECONDS)).state.active:
                view.show(item)
        except KeyboardInterrupt:
            downloads.pause(key)
        item = downloads.item(key)
        view.show(item)
        return item


def _ended(item: DownloadItem, console: Paper, model: str) -> bool:
    """Tell how it ended; whether the model is here. Raises BenchtopError when it failed."""
    match item.state:
        case DownloadState.DONE:
            console.tell(f"{item.name} is here ({format_size(item.total)}); `tui {model}` opens it.")
            return True
        case DownloadState.FAILED:
            raise BenchtopError(item.error or f"{item.name} could not be downloaded.")
        case _:
            console.tell(f"Paused with {_share(item)} here; `tui pull {model}` goes on from there.")
            return False


def _share(item: DownloadItem) -> str:
    return f"{format_size(item.done)} of {format_size(item.total)}"


class Bar:
    """One line that is drawn again and again."""

    def __init__(self, console: Paper) -> None:
        self._console = console
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[figures]}"))
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("", total=None, figures="")
        self._note: str | None = None

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, item: DownloadItem) -> None:
        if item.note != self._note:
            self._note = item.note
            if item.note is not None:
                self._console.tell(describe_wait(item))
        self._progress.update(
            self._task,
            description=make_printable(item.name),
            total=item.total,
            completed=item.done,
            figures=format_progress(item),
        )


class ProgressLines:
    """A line now and then, for a log."""

    def __init__(self, console: Paper) -> None:
        self._console = console
        self._said: tuple[DownloadState, str | None, int] | None = None

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()

    def show(self, item: DownloadItem) -> None:
        step = PROGRESS_LINES * item.done // item.total if item.total else PROGRESS_LINES
        if (item.state, item.note, step) != self._said:
            self._said = (item.state, item.note, step)
            self._console.tell(describe_wait(item) or f"{item.name}: {item.state.value}, {format_progress(item)}")


def describe_wait(item: DownloadItem) -> str:
    """The reason why the download waits, and for how long; empty where it does not wait."""
    again = f" It is tried again in {format_duration(max(1.0, item.again))}." if item.again is not None else ""
    return f"{item.note or ''}{again}"


def format_progress(item: DownloadItem) -> str:
    """Bytes that are here, bytes a second, time that is left."""
    if item.state is DownloadState.VERIFYING:
        return f"{format_size(item.total)}, comparing checksums"
    parts = [_share(item)]
    if item.rate > 0:
        parts.append(f"{format_size(int(item.rate))}/s")
    if item.eta is not None:
        parts.append(f"{format_duration(item.eta)} left")
    return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 4 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
