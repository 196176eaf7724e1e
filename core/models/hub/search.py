"""Looking for models at the Hub, by words and by what they must be."""

from __future__ import annotations

import re
from datetime import datetime
from enum import Enum
from typing import Annotated, Final

from msgspec import Meta, Struct, field

from core.contract.artifact import FormatName
from core.models.formats.registry import load_formats
from core.models.hub.link import HubLink, Query, decode_answer
from core.models.hub.quants import guess_formats

MOST_PAGES: Final = 5
"""Pages asked for in one go where few of what they list pass the filters."""
PAGE_MODELS: Final = 50
EXPANDED: Final = (
    *("downloads", "likes", "lastModified", "pipeline_tag", "tags", "gated", "private"),
    *("safetensors", "gguf", "siblings"),
)
PARAMETERS: Final = re.compile(r"(?:^|[-_.])(?:(\d{1,4})x)?(\d{1,6}(?:\.\d{1,6})?)([bm])(?:$|[-_.])", re.IGNORECASE)


Count = Annotated[int, Meta(ge=0, le=1 << 53)]
"""What a Hub may tell of anything."""


class Sort(Enum):
    DOWNLOADS = "downloads"
    LIKES = "likes"
    UPDATED = "lastModified"
    CREATED = "createdAt"
    TRENDING = "trendingScore"


class Filters(Struct, frozen=True, forbid_unknown_fields=True):
    """Filters of a search; a model has to pass all of them."""

    task: str | None = None
    """The Hub's `pipeline_tag`: `text-generation`, `automatic-speech-recognition` ..."""
    format: FormatName | None = None
    licence: str | None = None
    """As the Hub spells it: `apache-2.0`, `mit` ..."""
    owner: str | None = None
    most_parameters: Annotated[int, Meta(ge=1)] | None = None
    """Models whose number of parameters is unknown do not pass."""
    least_downloads: Annotated[int, Meta(ge=0)] = 0
    """In the last thirty days."""
    least_likes: Annotated[int, Meta(ge=0)] = 0
    open_only: bool = False
    """Leave out models whose owners want to be asked."""
    sort: Sort = Sort.DOWNLOADS
    limit: Annotated[int, Meta(ge=1, le=1000)] = 30


class Found(Struct, frozen=True):
    """A repository as the search lists it."""

    id: str
    task: str | None
    formats: tuple[FormatName, ...]
    """The formats in which the repository holds a model that could be run."""
    parameters: int | None
    """From the Hub's answer, else from the name; None where neither tells it."""
    licence: str | None
    downloads: int
    likes: int
    updated: datetime | None
    gated: bool


class Page(Struct, frozen=True):
    found: tuple[Found, ...]
    more: str | None = None
    """Give it to `search_models` to get the next page; None at the end."""


def search_models(link: HubLink, words: str, filters: Filters = Filters(), more: str | None = None) -> Page:
    """Models that pass the filters, best first. Raises HubError.

    A page is filled from up to MOST_PAGES of the Hub's, so it may hold fewer than `limit`, or a few more, and there may
    be `more` although it holds nothing.
    """
    found: list[Found] = []
    address: str | None = more or "api/models"
    query: Query = () if more else _query(words, filters)
    for _ in range(MOST_PAGES):
        assert address is not None
        answer = link.ask(address, query)
        found += [each for each in _decoded(answer.body) if passes_filters(each, filters)]
        address, query = answer.next, ()
        if address is None or len(found) >= filters.limit:
            break
    return Page(tuple(found), address)


def passes_filters(found: Found, filters: Filters) -> bool:
    """What the Hub was not asked, or may answer more freely."""
    small = filters.most_parameters is None or (
        found.parameters is not None and found.parameters <= filters.most_parameters
    )
    return (
        small
        and (filters.format is None or filters.format in found.formats)
        and (filters.licence is None or found.licence == filters.licence)
        and (filters.task is None or found.task == filters.task)
        and found.downloads >= filters.least_downloads
        and found.likes >= filters.least_likes
        and not (filters.open_only and found.gated)
    )


def read_parameters(name: str) -> int | None:
    """`Qwen3-8B` has 8 billion, `Mixtral-8x7B` 56, `SmolLM-135M` 135 million."""
    match = PARAMETERS.search(name.rpartition("/")[2])
    if match is None:
        return None
    return round(int(match[1] or 1) * float(match[2]) * (1e9 if match[3].lower() == "b" else 1e6))


def find_licence(tags: list[str]) -> str | None:
    """The Hub repeats a model's licence among its tags."""
    return next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), None)


def _query(words: str, filters: Filters) -> Query:
    # The formats that the Hub does not tag are told by the files alone.
    known = load_formats().get(filters.format) if filters.format else None
    tags = [known.hub_tag] if known is not None and known.hub_tag else []
    tags += [f"license:{filters.licence}"] if filters.licence else []
    asked = {"search": words.strip(), "pipeline_tag": filters.task, "author": filters.owner}
    return [
        *((key, value) for key, value in asked.items() if value),
        *(("filter", tag) for tag in tags),
        ("sort", filters.sort.value),
        ("direction", "-1"),
        ("limit", str(min(PAGE_MODELS, filters.limit))),
        *(("expand", each) for each in EXPANDED),
    ]


class _Total(Struct):
    total: Count | None = None


class _File(Struct, rename={"path": "rfilename"}):
    path: str


class _Row(Struct, rename={"last_modified": "lastModified"}):
    id: str
    pipeline_tag: str | None = None
    tags: list[str] = field(default_factory=list)
    downloads: Count = 0
    likes: Count = 0
    last_modified: datetime | None = None
    gated: bool | str | None = None
    safetensors: _Total | None = None
    gguf: _Total | None = None
    siblings: list[_File] = field(default_factory=list)

    @property
    def found(self) -> Found:
        told = [part.total for part in (self.gguf, self.safetensors) if part is not None and part.total]
        formats = guess_formats(file.path for file in self.siblings)
        return Found(
            id=self.id,
            task=self.pipeline_tag,
            formats=tuple(sorted(formats)),
            parameters=told[0] if told else read_parameters(self.id),
            licence=find_licence(self.tags),
            downloads=self.downloads,
            likes=self.likes,
            updated=self.last_modified,
            gated=bool(self.gated),
        )


def _decoded(body: bytes) -> list[Found]:
    return [row.found for row in decode_answer(body, list[_Row], "the search")]
