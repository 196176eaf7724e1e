"""GET /v1/search and /v1/fit: what the Hub has, and whether it fits, before anything is downloaded."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from litestar import Request, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery
from msgspec import Struct

from api.http.contract import ASKING_HUB, declare_contract, reply_with
from api.http.field_rules import Json
from api.http.leaving import run_while_connected
from core.contract.artifact import FormatName
from core.contract.options import KvType
from core.errors import RequestError
from core.models.fit.plan_words import describe_place
from core.models.formats.registry import load_formats
from core.models.hub.search import Filters, Found, Sort
from core.models.offers import Offer, list_offers
from core.workbench import Workbench

AnyEnum = TypeVar("AnyEnum", bound=Enum)

MOST_REPOSITORIES = 100
"""Repositories of one answer."""
LEAST_CONTEXT, MOST_CONTEXT = 16, 16_777_216
"""Tokens."""


class FoundRow(Struct, frozen=True):
    id: str
    task: str | None
    formats: list[str]
    parameters: int | None
    licence: str | None
    downloads: int
    likes: int
    updated: str | None
    gated: bool


class FoundList(Struct, frozen=True):
    data: list[FoundRow]


class FitRow(Struct, frozen=True):
    """A quant; what depends on its header is null where that could not be read."""

    model: str
    """To be downloaded under this name, or loaded where it is here."""
    format: str
    size_bytes: int
    fit: str | None = None
    """`fits`, `tight` or `does not fit`."""
    context_length: int | None = None
    """Tokens it was judged for."""
    kv_type: str | None = None
    slots: int | None = None
    needed_bytes: int | None = None
    free_bytes: int | None = None
    place: str | None = None
    """Where it would lie: `all on CARD`, `22 of 29 layers on CARD`, `main memory`."""
    tokens_per_second: float | None = None
    """That one stream would decode; null where nothing tells."""
    speed_basis: str | None = None
    largest_context: int | None = None
    """With which it fits; null where none does."""
    notes: list[str] = []


class FitList(Struct, frozen=True):
    data: list[FitRow]


def build_search_routes(workbench: Workbench) -> list[HTTPRouteHandler]:
    """Both ask the Hub, so each answer is made on a thread of its own."""

    @get(
        "/v1/search",
        summary="Look for models at the Hub",
        opt=declare_contract(
            reply_with(FoundList, "Repositories, as the Hub sorts them"),
            outcomes=ASKING_HUB,
            parameters={
                "format": {"enum": ["", *load_formats().names]},
                "sort": {"enum": ["", *_values(Sort)]},
                "limit": {"minimum": 1, "maximum": MOST_REPOSITORIES},
            },
        ),
    )
    async def search(
        request: Request[object, object, State],
        q: FromQuery[str] = "",
        task: FromQuery[str | None] = None,
        format: FromQuery[str | None] = None,  # noqa: A002 - the parameter's name on the wire
        licence: FromQuery[str | None] = None,
        sort: FromQuery[str] = Sort.DOWNLOADS.value,
        limit: FromQuery[int] = 30,
    ) -> FoundList:
        filters = Filters(
            task=task or None,
            format=_known_format(format) if format else None,
            licence=licence or None,
            sort=_one_of(Sort, sort, "sort") if sort else Sort.DOWNLOADS,
            limit=_check_range(limit, 1, MOST_REPOSITORIES, "limit"),
        )
        asking = workbench.lanes.hub.run(workbench.models.store.search, q[:200], filters)
        page = await run_while_connected(request.receive, asking)
        return FoundList([_build_row(each) for each in page.found])

    @get(
        "/v1/fit",
        summary="The quants of a model, and which of them fit",
        opt=declare_contract(
            reply_with(FitList, "The quants, the smallest first"),
            outcomes=ASKING_HUB,
            parameters={
                "context": {"minimum": LEAST_CONTEXT, "maximum": MOST_CONTEXT},
                "kv_type": {"enum": ["", *_values(KvType)]},
            },
        ),
    )
    async def fit(
        request: Request[object, object, State],
        model: FromQuery[str],
        context: FromQuery[int | None] = None,
        kv_type: FromQuery[str | None] = None,
    ) -> FitList:
        kv = _one_of(KvType, kv_type, "kv_type") if kv_type else None
        wanted = None if context is None else _check_range(context, LEAST_CONTEXT, MOST_CONTEXT, "context")
        store = workbench.models.store
        name = store.read_asked(model)
        asking = workbench.lanes.hub.run(list_offers, store, name, wanted, kv, None, store.find_profile(model))
        found = await run_while_connected(request.receive, asking)
        return FitList([_row(each) for each in found])

    return [search, fit]


def _build_row(found: Found) -> FoundRow:
    return FoundRow(
        id=found.id,
        task=found.task,
        formats=list(found.formats),
        parameters=found.parameters,
        licence=found.licence,
        downloads=found.downloads,
        likes=found.likes,
        updated=found.updated.isoformat() if found.updated else None,
        gated=found.gated,
    )


def _row(offer: Offer) -> FitRow:
    row = FitRow(offer.name, offer.format, offer.size)
    if (judged := offer.judged) is None:
        return row
    fit = judged.fit
    return FitRow(
        *(offer.name, offer.format, offer.size, fit.verdict.value),
        context_length=judged.setup.context,
        kv_type=judged.setup.kv.value,
        slots=judged.setup.slots,
        needed_bytes=fit.parts.needed,
        free_bytes=fit.free,
        place=describe_place(fit.plan),
        tokens_per_second=round(judged.speed.tokens, 1) if judged.speed is not None else None,
        speed_basis=judged.speed.basis.value if judged.speed is not None else None,
        largest_context=judged.largest,
        notes=list(fit.notes),
    )


def _values(kind: type[Enum]) -> list[Json]:
    return [str(each.value) for each in kind]


def _known_format(name: str) -> FormatName:
    names = load_formats().names
    if name not in names:
        raise RequestError(f"format {name[:40]!r} is unknown; there are {', '.join(names)}.", "format")
    return name


def _one_of(kind: type[AnyEnum], value: str, field: str) -> AnyEnum:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(each.value) for each in kind)
        raise RequestError(f"{field} {value[:40]!r} is unknown; there are {known}.", field) from None


def _check_range(value: int, least: int, most: int, field: str) -> int:
    if not least <= value <= most:
        raise RequestError(f"{field} must be between {least} and {most}.", field)
    return value
