"""Sends captured requests again, one or a whole scenario, and times what comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import httpx
from msgspec import Struct

from core.capture.exchange import CapturedRequest, read_body
from core.capture.export import ScenarioStep
from core.capture.legible import read_answer
from core.errors import BenchtopError

CONNECT_SECONDS: Final = 5.0
MOST_REPLY_BYTES: Final = 64 * 1024 * 1024
"""That are held of one reply."""


class ServerUnreachable(BenchtopError):
    """Nothing answers where a request was to be sent."""


class Replayed(Struct, frozen=True):
    """A request that was sent again, with what came of it."""

    exchange: CapturedRequest
    tokens: int | None
    """That the answer has, as its usage tells; None where it does not."""

    @property
    def ok(self) -> bool:
        return 200 <= self.exchange.status < 300

    @property
    def answer(self) -> str:
        return read_answer(self.exchange)

    @property
    def rate(self) -> float | None:
        """Tokens a second behind the first; None where the reply came in one piece."""
        first, seconds = self.exchange.first, self.exchange.seconds
        in_one_piece = self.exchange.reply_type.startswith("application/json")
        if not self.tokens or self.tokens < 2 or in_one_piece or first is None or seconds - first < 1e-3:
            return None
        return (self.tokens - 1) / (seconds - first)


class Replayer:
    """Sends to one server. Raises ServerUnreachable where nothing answers there."""

    def __init__(self, url: str, *, key: str | None = None, model: str | None = None) -> None:
        """`url` without a path; `model` in place of those that the requests name."""
        self._url = url
        self._key = key
        self._model = model

    async def send(self, step: ScenarioStep) -> Replayed:
        """One request, at once."""
        async with self._client() as client:
            return await self._send(client, step)

    async def run(self, steps: Sequence[ScenarioStep], *, speed: float = 1.0) -> list[Replayed]:
        """All of them, with the time between them divided by `speed`; zero sends all at once."""
        began = time.monotonic()

        async def send_in_time(client: httpx.AsyncClient, step: ScenarioStep) -> Replayed:
            if speed:
                await asyncio.sleep(max(0.0, began + step.at / speed - time.monotonic()))
            return await self._send(client, step)

        async with self._client() as client, asyncio.TaskGroup() as group:
            tasks = [group.create_task(send_in_time(client, step)) for step in steps]
        return [task.result() for task in tasks]

    def _client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=None)
        # A long prompt takes its time; proxies of the environment are not for a server of one's own.
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        return httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, trust_env=False)

    async def _send(self, client: httpx.AsyncClient, step: ScenarioStep) -> Replayed:
        body = {**step.body, "model": self._model} if self._model else step.body
        began, since = time.time(), time.monotonic()
        first: float | None = None
        parts: list[bytes] = []
        size = 0
        try:
            async with client.stream("POST", self._url + step.path, json=body, headers=step.headers) as response:
                async for piece in response.aiter_bytes():
                    if first is None:
                        first = time.monotonic() - since
                    if size < MOST_REPLY_BYTES:
                        parts.append(piece)
                    size += len(piece)
        except httpx.ConnectError as error:
            raise ServerUnreachable(
                f"Nothing answers at {self._url}; start it with `tui --serve MODEL`, or name another with --server."
            ) from error
        except httpx.HTTPError as error:
            raise ServerUnreachable(
                f"{self._url} broke off its reply to {step.path}: {error or type(error).__name__}."
            ) from error
        exchange = CapturedRequest(
            request_id=response.headers.get("x-request-id", ""),
            began=began,
            seconds=time.monotonic() - since,
            method="POST",
            path=step.path,
            body=b"",
            reply=b"".join(parts),
            status=response.status_code,
            first=first,
            reply_type=response.headers.get("content-type", ""),
            reply_bytes=size,
        )
        return Replayed(exchange, count_answer_tokens(exchange))


def count_answer_tokens(exchange: CapturedRequest) -> int | None:
    """Tokens of the answer as the reply's usage tells them, in whatever dialect; None where it does not."""
    if (whole := _find_count(read_body(exchange.reply))) is not None:
        return whole
    counts = (_find_count(read_body(line.removeprefix(b"data:"))) for line in reversed(exchange.reply.splitlines()))
    return next((count for count in counts if count is not None), None)


def _find_count(value: object) -> int | None:
    if not isinstance(value, dict):
        return None
    counts = (value.get(name) for name in ("completion_tokens", "output_tokens", "eval_count", "tokens_predicted"))
    found = next((count for count in counts if isinstance(count, int)), None)
    if found is not None:
        return found
    inner = (_find_count(value.get(name)) for name in ("usage", "response", "message"))
    return next((count for count in inner if count is not None), None)
