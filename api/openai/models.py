"""Cards of the models that are loaded, being loaded, or loaded by a request."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from api.http.redact import drop_folders
from api.openai.wire import DraftCard, DraftPosition, ModelCard, ModelMeta
from core.errors import ModelNotFound
from core.models.library.on_demand import Loadable
from core.names import are_same, clean_name, drop_latest, shorten_name
from core.snapshots import DraftStats, ModelSnapshot, ModelState, Snapshot
from core.workbench import Workbench

UNLOADED = "unloaded"
"""The state of a model that a request would load."""
FAILED = ModelState.FAILED.value
"""The state of one that could not be loaded; a request tries again."""


async def build_all_cards(workbench: Workbench) -> list[ModelCard]:
    """Of the models that are known, and behind them of those that a request would load."""
    more = await workbench.models.loadable()
    snapshot = workbench.snapshot()
    known = build_cards(snapshot, workbench.models.paths)
    created = _created(snapshot)
    return [*known, *(_of_library(each, created) for each in more if not is_among(known, each.name))]


def is_among(cards: Collection[ModelCard], name: str) -> bool:
    return any(are_same(card.id, name) for card in cards)


def _created(snapshot: Snapshot) -> int:
    """Seconds since the epoch; models have no age here, so all have the server's."""
    return int(snapshot.taken - snapshot.uptime)


def _of_library(model: Loadable, created: int) -> ModelCard:
    return ModelCard(
        id=model.name,
        created=created,
        owned_by="benchtop",
        state=UNLOADED,
        meta=ModelMeta(size=model.size or None),
    )


def build_cards(snapshot: Snapshot, paths: Collection[Path]) -> list[ModelCard]:
    """`paths`: files that the notes of a model may name."""
    created = _created(snapshot)
    absent = [
        ModelCard(
            id=each.name,
            created=created,
            owned_by="benchtop",
            state=FAILED if each.problem else UNLOADED,
            pinned=each.pinned,
            meta=ModelMeta(size=each.size or None),
        )
        for each in snapshot.pool.absent
    ]
    return [*(_card(model, created, paths) for model in snapshot.models), *absent]


def find_card(cards: list[ModelCard], name: str) -> ModelCard:
    """Raises ModelNotFound, which names what there is."""
    wanted = clean_name(name)
    for form in (wanted, drop_latest(wanted)):
        if found := next((card for card in cards if are_same(card.id, form)), None):
            return found
    there = ", ".join(f"`{card.id}`" for card in cards) or "none"
    raise ModelNotFound(name, f"No model named {shorten_name(wanted)} is served here; there is {there}.")


def _card(model: ModelSnapshot, created: int, paths: Collection[Path]) -> ModelCard:
    return ModelCard(
        id=model.name,
        created=created,
        owned_by="benchtop",
        engine=model.engine or None,
        state=model.state.value,
        architecture=model.architecture or None,
        quantization=model.quantization or None,
        parameters=model.parameters or None,
        context_length=model.context,
        max_model_len=model.context,
        meta=ModelMeta(
            n_ctx=model.context,
            n_ctx_train=model.trained_context or None,
            n_params=model.parameters or None,
            size=model.weight_bytes or None,
            n_vocab=model.vocabulary or None,
            kv_type=model.kv_type or None,
            kv_bytes_per_token=model.kv_bytes_per_token or None,
        ),
        pinned=model.pinned,
        resident_bytes=model.resident,
        requests=model.in_use,
        idle_seconds=round(model.idle, 1),
        draft=_draft(model.draft, paths),
        notes=[drop_folders(note, paths) for note in model.notes],
    )


def _draft(stats: DraftStats | None, paths: Collection[Path]) -> DraftCard | None:
    if stats is None:
        return None
    problem = drop_folders(stats.problem, paths) or None
    return DraftCard(
        by=stats.by,
        guessed=stats.guessed,
        kept=stats.kept,
        wasted=stats.guessed - stats.kept,
        positions=[DraftPosition(guessed=each.guessed, kept=each.kept) for each in stats.positions],
        seconds_lost=round(stats.seconds_lost, 3),
        seconds_gained=round(stats.seconds_gained, 3),
        problem=problem,
    )
