"""Requests of all kinds against a server, many of which their clients leave, and what is left of them at rest."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil
from msgspec import Struct

from core.serving.loops.scheduler import ServingLoop
from core.workbench import Workbench

WORDS = ("model", "cache", "token", "prompt", "engine", "weights", "context", "quant", "stream", "sampler", "layer")
TOOL: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "maximum": 14}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
REFUSED = (400, 404, 413, 422, 429, 499, 503, 504)
"""Statuses that a client can expect that asks for what it must not, or while the model is away."""


class Traffic:
    """One client that asks for something else each time. `requests` counts them by kind, `odd` what came unexpected."""

    def __init__(self, http: httpx.AsyncClient, model: str, random: Random, embedder: str | None = None) -> None:
        self._http = http
        self._model = model
        self._random = random
        self._embedder = embedder
        self.requests: Counter[str] = Counter()
        self.odd: Counter[str] = Counter()
        self._kinds: list[Callable[[], Awaitable[object]]] = [
            *[self._whole, self._streamed, self._left_in_stream, self._left_in_prefill] * 3,
            *[self._choices, self._of_a_schema, self._of_a_pattern, self._in_batch, self._cancelled_by_id] * 2,
            *[self._hostile, self._wrong, self._raw, self._embedded, self._looked_at, self._conversation],
        ]

    async def act(self) -> None:
        """One request, or one that is left."""
        kind = self._random.choice(self._kinds)
        self.requests[kind.__name__.strip("_")] += 1
        try:
            await kind()
        except httpx.HTTPError as error:
            self.odd[type(error).__name__] += 1

    async def reload(self) -> None:
        """Unload the model amid all that is asked of it, and load it again."""
        self.requests["reload"] += 1
        await self._post("/v1/models/unload", {"model": self._model})
        await self._post("/v1/models/load", {"model": self._model})

    def _words(self, count: int) -> str:
        return " ".join(self._random.choice(WORDS) for _ in range(count))

    def _body(self, words: int, **fields: object) -> dict[str, object]:
        said = [{"role": "user", "content": self._words(words)}]
        return {"model": self._model, "messages": said, "max_tokens": self._random.randint(1, 40)} | fields

    async def _post(self, path: str, body: dict[str, object], **told: str) -> httpx.Response:
        answer = await self._http.post(path, json=body, headers=told)
        if answer.status_code != 200 and answer.status_code not in REFUSED:
            self.odd[f"{answer.status_code} {path}"] += 1
        return answer

    async def _chat(self, **fields: object) -> httpx.Response:
        return await self._post("/v1/chat/completions", self._body(self._random.randint(1, 60), **fields))

    async def _leave(self, body: dict[str, object], events: int) -> None:
        async with self._http.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as answer:
            lines = answer.aiter_lines()
            for _ in range(2 * events):
                if await anext(lines, None) is None:
                    return

    async def _whole(self) -> None:
        await self._chat(temperature=self._random.random())

    async def _streamed(self) -> None:
        await self._leave(self._body(20), 10_000)

    async def _left_in_stream(self) -> None:
        await self._leave(self._body(20, max_tokens=200, ignore_eos=True), self._random.randint(1, 8))

    async def _left_in_prefill(self) -> None:
        body = self._body(600, return_progress=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._random.random() * 0.05):
                await self._leave(body, 1)

    async def _choices(self) -> None:
        await self._chat(n=self._random.randint(2, 4), temperature=1.0)

    async def _of_a_schema(self) -> None:
        schema = {"type": "json_schema", "json_schema": {"name": "tool", "schema": TOOL}}
        await self._chat(response_format=schema, temperature=1.5, n=self._random.randint(1, 2))

    async def _of_a_pattern(self) -> None:
        await self._leave(self._body(5, guided_regex="([a-z]{3,8} ){2,9}", max_tokens=60), self._random.randint(1, 30))

    async def _in_batch(self) -> None:
        await self._chat(priority="batch")

    async def _cancelled_by_id(self) -> None:
        name = f"cancelled-{self._random.randrange(10**9)}"
        asked = asyncio.create_task(
            self._post(
                "/v1/chat/completions", self._body(20, max_tokens=200, ignore_eos=True), **{"x-request-id": name}
            )
        )
        await asyncio.sleep(self._random.random() * 0.1)
        await self._http.delete(f"/v1/requests/{name}")
        await asked

    async def _hostile(self) -> None:
        number = self._random.randrange(10**6)
        grammar = f'start: s\ns: s s s | s s | "a" | "b{number}" | ""\n'
        await self._chat(grammar=f'root ::= "{number}" root | "x{{' if number % 2 else grammar)

    async def _wrong(self) -> None:
        wrong: list[dict[str, object]] = [
            {"max_tokens": -1},
            {"messages": "hello"},
            {"n": 10**9},
            {"model": "nobody"},
            {"response_format": 1},
        ]
        await self._chat(**self._random.choice(wrong))
        await self._http.post("/v1/chat/completions", content=b'{"model": ')

    async def _raw(self) -> None:
        await self._post("/v1/chat/completions", self._body(900, max_tokens=3))

    async def _embedded(self) -> None:
        texts = [self._words(self._random.randint(1, 50)) for _ in range(self._random.randint(1, 9))]
        await self._post("/v1/embeddings", {"model": self._embedder or self._model, "input": texts})

    async def _looked_at(self) -> None:
        for path in ("/health", "/v1/cache/stats", "/v1/queue/stats", "/v1/models", "/v1/requests"):
            await self._http.get(path)

    async def _conversation(self) -> None:
        messages: list[dict[str, str]] = []
        for _ in range(3):
            messages.append({"role": "user", "content": self._words(30)})
            answer = await self._post("/v1/chat/completions", self._body(1, messages=list(messages)))
            if answer.status_code != 200:
                return
            messages.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"] or ""})


class RestCounts(Struct, frozen=True):
    """What a server holds when nobody asks for anything."""

    stray_sequences: int
    """Open in engines, and neither residents of the prefix cache nor a running request's."""
    cells: int
    """In use beyond those that residents share."""
    requests: int
    """That wait, arrive or run."""
    seats: int
    """Taken in queues and by leases."""
    tasks: int
    threads: int
    processes: int
    files: int
    """Descriptors."""
    temporary: int
    """Files of our own that are written, in folders of ours and in the system's."""
    resident: int
    """Bytes, without the prefixes that are kept in memory on purpose."""
    processed: int
    """Requests that came to their end, since the start."""


def count_at_rest(workbench: Workbench, folder: Path) -> RestCounts:
    """On the event loop. `folder` holds all that the workbench writes."""
    snapshot = workbench.snapshot()
    process = psutil.Process()
    stray = cells = 0
    for loop in _list_loops(workbench):
        memory = loop._memory
        opened = set(memory._ledger.sequences())
        kept = {sequence for sequence in opened if sequence in memory._residents}
        native = getattr(loop._model, "_sequences", opened)
        stray += len(opened - kept) + len(native) - len(opened)
        cells += memory.used - memory._ledger.distinct(list(kept)) + memory._claims
    return RestCounts(
        stray_sequences=stray,
        cells=cells,
        requests=len(snapshot.requests),
        seats=sum(each.slots_used + each.queue.pending + each.in_use for each in snapshot.models),
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        processes=len(process.children(recursive=True)),
        files=process.num_fds() if hasattr(process, "num_fds") else 0,
        temporary=sum(".safetensors." in path.name or path.suffix == ".tmp" for path in folder.rglob("*")),
        resident=process.memory_info().rss - snapshot.prefixes_in_memory.bytes,
        processed=sum(each.queue.total_processed for each in snapshot.models)
        + snapshot.pool.past_queue.total_processed,
    )


def _list_loops(workbench: Workbench) -> list[ServingLoop]:
    """Into what no front end is to see: that is where leaks are."""
    loops = [host._serving for host in workbench.models._pool.hosts]
    return [loop for loop in loops if isinstance(loop, ServingLoop)]


def is_at_rest(workbench: Workbench) -> bool:
    snapshot = workbench.snapshot()
    return not snapshot.requests and not any(each.slots_used or each.in_use for each in snapshot.models)
