"""The file of API keys is read again when it has changed, while the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from api.http.gatekeeper import Gatekeeper
from core.errors import ConfigError
from core.settings.keys import ApiKey, KeySource
from core.telemetry.log import get_logger

LOOK_SECONDS: Final = 2.0
"""Between two looks at the file."""
log = get_logger(__name__)


class KeyWatch:
    """Of one gate. Belongs to the server's event loop; files are looked at on threads."""

    def __init__(self, source: KeySource, gate: Gatekeeper, read_spent: Callable[[], Mapping[str, int]]) -> None:
        """`source`: by which the gate has its keys; `read_spent`: tokens of this day by names of keys, which may wait
        for the disk."""
        self._source = source
        self._gate = gate
        self._read_spent = read_spent

    async def run(self) -> None:
        """Until it is cancelled. Returns at once where the settings have no file of keys."""
        while self._source.path is not None:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:
                # The edge of the loop: a disk that fails in a new way must not end the looking.
                log.exception("the file of API keys cannot be looked at", path=str(self._source.path))

    async def look(self) -> None:
        """Where the file has changed, its keys are those of the gate from now on. Where it is wrong, or gone, the gate
        keeps those it has, which the log says once for each change."""
        if not await asyncio.to_thread(self._source.has_changed):
            return
        try:
            keys, spent = await asyncio.to_thread(self._read)
        except ConfigError as error:
            log.error("the file of API keys is wrong now; the keys stay as they were", why=str(error))
            return
        self._gate.change(keys, spent)
        log.info("the file of API keys has changed and was read again", keys=len(keys))

    def _read(self) -> tuple[Sequence[ApiKey], Mapping[str, int]]:
        return self._source.read(), self._read_spent()
