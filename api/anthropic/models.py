"""The list of models as Anthropic's API tells it, and a page of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from core.errors import RequestError

DEFAULT_MODELS: Final = 20
MOST_MODELS: Final = 1000
"""Models on one page."""


class ModelInfo(Struct, frozen=True, kw_only=True, tag_field="type", tag="model"):
    id: str
    display_name: str
    created_at: str
    """RFC 3339; models have no age here, so all have the server's."""
    lifecycle: str = "active"
    max_input_tokens: int | None
    """Null while unknown, as the field below: before the model is loaded."""
    max_tokens: int | None
    """Of an answer: it ends where the context does."""


class ModelPage(Struct, frozen=True, kw_only=True):
    data: list[ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None


def describe_model(name: str, created: int, context: int | None) -> ModelInfo:
    """`created`: seconds since the epoch; `context`: tokens."""
    moment = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    return ModelInfo(id=name, display_name=name, created_at=moment, max_input_tokens=context, max_tokens=context)


def cut_page(models: Sequence[ModelInfo], query: Mapping[str, str]) -> ModelPage:
    """The models that a query wants: `limit` of them, behind `after_id` or before `before_id`. Raises RequestError."""
    limit = _read_count(query.get("limit", ""))
    names = [model.id for model in models]
    start, end = 0, len(models)
    if after := query.get("after_id"):
        start = _find_model(names, after, "after_id") + 1
    if before := query.get("before_id"):
        end = _find_model(names, before, "before_id")
    page = models[start:end]
    # Of those before a model, the ones next to it are wanted.
    shown = page[-limit:] if before and not after else page[:limit]
    return ModelPage(
        data=[*shown],
        has_more=len(shown) < len(page),
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
    )


def _read_count(given: str) -> int:
    if not given:
        return DEFAULT_MODELS
    if not (given.isascii() and given.isdigit() and len(given) < 5 and 1 <= int(given) <= MOST_MODELS):
        raise RequestError(f"The parameter `limit` is wrong: expected a number from 1 to {MOST_MODELS}.", "limit")
    return int(given)


def _find_model(names: Sequence[str], wanted: str, parameter: str) -> int:
    try:
        return names.index(wanted)
    except ValueError:
        raise RequestError(f"`{parameter}` names none of the models that are served.", parameter) from None
