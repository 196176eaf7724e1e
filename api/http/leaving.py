"""Work for a client that is given up when the client goes away; answers that stream see to that themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from litestar.types import Receive

from core.errors import Cancelled

Result = TypeVar("Result")


async def run_while_connected(receive: Receive, work: Coroutine[object, object, Result]) -> Result:
    """What `work` comes to, once the request's body was read or where it has none. Raises Cancelled where the client
    left before."""
    doing = asyncio.create_task(work)
    watching = asyncio.create_task(_wait_for_leaving(receive))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise Cancelled("The client left before it was answered.")
    finally:
        doing.cancel()
        watching.cancel()
        await asyncio.wait({doing, watching})


async def _wait_for_leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
