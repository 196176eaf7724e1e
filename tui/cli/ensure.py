"""Models that were named and are not here: told of, asked about on a terminal, and downloaded."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.prompt import Confirm

from core.errors import Cancelled, NotDownloaded
from core.models.fit.estimate import Verdict
from core.sizes import format_size
from core.workbench import Workbench
from tui.cli.console import Paper
from tui.cli.fit_words import describe_fit, judge_quant
from tui.cli.pull import fetch_quant

if TYPE_CHECKING:
    from core.models.store import Store
    from core.settings.schema import Settings


class _Asked(Confirm):
    # Rich's own sentence is markup, which the console takes for words.
    validate_error_message = "Please answer y or n."


def ensure_models(settings: Settings, names: Iterable[str], *, pull: bool) -> None:
    """See that all these models are here. A missing model is downloaded: at once with `pull`, and on a terminal after
    a question that tells its size and whether it fits.

    Raises NotDownloaded where nobody can be asked, Cancelled when the answer is no or the download was interrupted,
    and ModelNotFound, ArtifactError, HubError, DownloadError.
    """
    store = Workbench(settings).models.store
    console = Paper(stderr=True)
    try:
        for name in names:
            try:
                store.resolve(store.read_own(name))
            except NotDownloaded:
                if not pull and not (sys.stdin.isatty() and console.is_terminal):
                    raise
                _fetch(store, name, console, asked=pull)
    finally:
        store.close()


def check_model(settings: Settings, name: str) -> None:
    """Raises ModelNotFound for a name that stands for nothing, ArtifactError for files that are no model. That a model
    would have to be downloaded is no matter."""
    store = Workbench(settings).models.store
    try:
        with suppress(NotDownloaded):
            store.resolve(store.read_own(name))
    finally:
        store.close()


def _fetch(store: Store, name: str, console: Paper, *, asked: bool) -> None:
    quant = store.find(store.read_own(name))
    judged = judge_quant(store, quant)
    console.tell(f"{quant.name} is not on this machine: {format_size(quant.size)} to download{describe_fit(judged)}.")
    likely = judged is None or judged.fit.verdict is not Verdict.DOES_NOT_FIT
    if not asked and not _Asked.ask("Download it?", console=console, default=likely):
        raise Cancelled(f"{name} was not downloaded; `tui pull {name}` does it.")
    if not fetch_quant(store.downloads, quant, console, name):
        raise Cancelled(f"{name} is not here in full yet.")
