"""Which model does a task: one that is served, else the smallest of those that are here, which is loaded for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.contract.artifact import Artifact
from core.errors import BenchtopError
from core.requests import Caller
from tui.session import find_model

if TYPE_CHECKING:
    from core.models.library.scan import LibraryEntry
    from core.models.store import Store
    from core.snapshots import ModelKind
    from tui.session import Desk


class TaskModel:
    """Looked for whenever it is wanted; loaded once, whatever becomes of those that wait for that."""

    def __init__(self, desk: Desk, kind: ModelKind) -> None:
        self._desk = desk
        self._kind = kind
        self._loading: asyncio.Task[str] | None = None

    async def find(self, tell: Callable[[str], None]) -> str:
        """The name that it is served by; `tell` is told what takes a while. Raises BenchtopError, which says how to get
        one."""
        try:
            return self._find_served()
        except BenchtopError as error:
            if self._loading is None or self._loading.done():
                self._loading = asyncio.create_task(self._load(tell, error))
                # Nobody may wait for it any more when it fails.
                self._loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._loading)

    def _find_served(self) -> str:
        """The model in use where it is of that kind, else the one that there is. Raises BenchtopError."""
        model = find_model(self._desk.snapshot(), self._desk.model)
        if model is not None and model.kind is self._kind:
            return model.name
        return self._desk.workbench.requests.choose_model(self._kind, Caller())

    async def _load(self, tell: Callable[[str], None], lacking: BenchtopError) -> str:
        models = self._desk.workbench.models
        entries = await asyncio.to_thread(models.library)
        entry = await asyncio.to_thread(find_smallest, models.store, entries, self._kind)
        if entry is None:
            raise BenchtopError(f"{lacking} Get one on the models screen (F1), or add yours there.") from lacking
        tell(f"{entry.short} is loading")
        return await models.load(entry.name)


def find_smallest(store: Store, entries: tuple[LibraryEntry, ...], kind: ModelKind) -> LibraryEntry | None:
    """Of the models on this machine that can be loaded and do something. Touches the disk."""
    whole = (entry for entry in entries if entry.problem is None and entry.share is None and entry.format is not None)
    for entry in sorted(whole, key=lambda entry: entry.size):
        assert entry.format is not None
        artifact = Artifact(entry.name, entry.format, entry.path, entry.size)
        try:
            if store.expect_kind(artifact, store.find_profile(entry.name)) is kind:
                return entry
        except BenchtopError:
            # Damage, which loading tells.
            continue
    return None
