"""The table of models: what is here, in the catalog and at the Hub, a line each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from msgspec import Struct
from textual.content import Content

from core.models.downloads.status import DownloadItem, DownloadState
from core.models.fit.estimate import Verdict
from core.models.formats.registry import load_formats
from core.models.library.scan import LibraryEntry
from core.sizes import format_size
from core.snapshots import ModelState
from tui import format as fmt
from tui import glyphs
from tui.screens.models.downloads import OVER, STOPPED, format_total_percent
from tui.screens.models.facts import format_verdict_word, shorten_name
from tui.screens.models.rows import Item, ListSection, Where, find_repo, guess_verdict, is_partial, is_unusable
from tui.widgets.row_list import Cell, Field, List

MARK = Field("", 1)
NAME = Field("name", 0)
WHERE = Field("where", 8, rank=1)
FORMAT = Field("format", 7, rank=2)
SIZE = Field("size", 7, right=True)
FIT = Field("fit", 13)
STATE = Field("state", 12)
PULLS = Field("pulls", 5, right=True, rank=3)
"""Downloads that the Hub counts."""
LIKES = Field("likes", 5, right=True, rank=4)
HUB_COLUMNS = 2
"""The last ones, of which the Hub alone tells."""
MEASURED_ROWS = 500
"""Those of this machine come first."""
LEAST_STATE_CELLS = 7
LEAST_NAME_CELLS, MOST_NAME_CELLS = 22, 30
"""Between these a longer name takes the place of columns that matter less."""


class Around(Struct, frozen=True):
    """What a row's cells depend on besides the row."""

    used: str = ""
    """The model that chat and bench use."""
    free: int = 0
    """Bytes of memory."""
    verdicts: Mapping[str, Verdict] = {}
    """Of models whose header was read, by key."""
    here: Collection[str] = ()
    """Repositories of which there is something in the Hub's cache, in lower case."""
    transfers: Mapping[str, DownloadItem] = {}
    """Downloads that are not done, by repository in lower case."""


class ShelfTable(List[Item]):
    """Selects by key; `around` is set before rows are shown."""

    def __init__(self) -> None:
        columns = self._columns(ListSection.ALL)
        super().__init__(columns, lambda item: item.key, self._row, least=LEAST_NAME_CELLS, dom_id="library")
        self.around = Around()
        self._section = ListSection.ALL

    def show(self, rows: Sequence[Item], *, fresh: bool = False) -> None:
        """Where nothing is told that only the Hub tells, its columns leave their room to the names, and so does the
        state where it is short."""
        counted = any(item.downloads is not None or item.likes is not None for item in rows)
        told = max((len(describe_state(item, self.around).plain) for item in rows[:MEASURED_ROWS]), default=0)
        state = STATE._replace(width=min(STATE.width, max(LEAST_STATE_CELLS, told)))
        fields = tuple(state if each is STATE else each for each in self._columns(self._section))
        self.fields = fields if counted else fields[:-HUB_COLUMNS]
        longest = max((len(item.name) for item in rows), default=0)
        self._least = min(MOST_NAME_CELLS, max(LEAST_NAME_CELLS, longest))
        super().show(rows, fresh=fresh)

    def set_section(self, section: ListSection) -> None:
        """Where all rows come from one source it need not be said, and there is room for numbers."""
        if section is not self._section:
            self._section = section
            self.set_fields(self._columns(section))

    @staticmethod
    def _columns(section: ListSection) -> tuple[Field, ...]:
        rank = 5 if section in (ListSection.CATALOG, ListSection.HUB) else WHERE.rank
        few = 4 if section is ListSection.HERE else 1 if section is ListSection.HUB else PULLS.rank
        pulls = PULLS._replace(rank=few)
        return (MARK, NAME, WHERE._replace(rank=rank), FORMAT, SIZE, FIT, STATE, pulls, LIKES)

    def _row(self, item: Item) -> Sequence[Cell]:
        around, marks = self.around, glyphs.find_glyphs(self)
        used = item.model is not None and item.model.name == around.used
        size = format_size(item.size) if item.size else fmt.shorten_count(item.parameters) if item.parameters else "-"
        cells = (
            Content.styled(marks.running if used else " ", "$primary"),
            shorten_name(item.name, self.room, marks.cut),
            item.where.value,
            describe_kinds(item),
            size,
            self._fit(item),
            describe_state(item, around),
            fmt.shorten_count(item.downloads) if item.downloads is not None else "",
            fmt.shorten_count(item.likes) if item.likes is not None else "",
        )
        return cells[: len(self.fields)]

    def _fit(self, item: Item) -> Content:
        if item.model is not None or is_unusable(item):
            return Content("")
        known = self.around.verdicts.get(item.key)
        return format_verdict_word(known or guess_verdict(item, self.around.free), rough=known is None)


def describe_kinds(item: Item) -> str:
    """`gguf`, or `gguf+2` for one that can be had in more formats."""
    if not item.formats:
        return "?" if item.entry is not None else ""
    first = item.formats[0]
    more = f"+{len(item.formats) - 1}" if len(item.formats) > 1 else ""
    known = load_formats().get(first)
    return f"{(known and known.label) or first}{more}"


def list_repos(item: Item) -> tuple[str, ...]:
    """The repositories of the Hub that it is made of or stands for, in lower case."""
    if item.found is not None:
        return (item.found.id.lower(),)
    if item.catalog is not None:
        return tuple(source.name.repo.lower() for source in item.catalog.sources())
    return (find_repo(item.entry).lower(),) if item.entry is not None and find_repo(item.entry) else ()


def group_by_repository(items: Iterable[DownloadItem]) -> dict[str, DownloadItem]:
    """The downloads that are not done."""
    return {item.name.partition(":")[0].lower(): item for item in items if item.state not in OVER}


def describe_state(item: Item, around: Around) -> Content:
    """In words, coloured alike."""
    if item.model is not None:
        return _loaded(item.model.state, pinned=item.model.pinned)
    moving = next((around.transfers[repo] for repo in list_repos(item) if repo in around.transfers), None)
    entry = item.entry
    if moving is not None and (entry is None or entry.problem):
        return _fetched(moving)
    if entry is None:
        here = any(repo in around.here for repo in list_repos(item))
        return Content.styled("here", "$gauge-ok") if here else Content("")
    if is_partial(entry):
        share = f" {int(entry.share * 100)}%" if entry.share is not None else ""
        return Content.styled(f"partial{share}", "$gauge-warn")
    if entry.problem:
        return Content.styled(_ailing(item, entry), "$gauge-full")
    if entry.loaded:
        return Content.styled("loaded", "$gauge-ok")
    return Content.styled("running" if item.where is Where.SERVER else "on disk", "$quiet")


def _ailing(item: Item, entry: LibraryEntry) -> str:
    if item.where is Where.SERVER:
        return "no answer"
    return "not here" if item.where is Where.SETTINGS and not entry.size else "damaged"


def _loaded(state: ModelState, *, pinned: bool) -> Content:
    if state is ModelState.READY:
        return Content.styled("pinned" if pinned else state.value, "$gauge-ok")
    return Content.styled(state.value, "$gauge-full" if state.is_down else "$gauge-warn")


def _fetched(moving: DownloadItem) -> Content:
    if moving.state in STOPPED:
        failed = moving.state is DownloadState.FAILED
        return Content.styled(
            f"{moving.state.value} {format_total_percent(moving)}", "$gauge-full" if failed else "$gauge-warn"
        )
    word = "retrying" if moving.state is DownloadState.RETRYING else "fetching"
    return Content.styled(f"{word} {format_total_percent(moving)}", "$prefill" if word == "fetching" else "$gauge-warn")
