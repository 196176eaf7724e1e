"""A workbench that stands still: fixed numbers and scripted answers, so that screens look the same each time."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from api.curl import format_curl
from core.bench.quality import QualityRow
from core.bench.results import BenchRow, BenchRun, Change, Setting
from core.bench.suite import CaseDone, CaseSampled, CaseStarted, SuiteEvent, SuitePlan
from core.bench.tool_cases import TOOL_CASES
from core.bench.tool_health import ToolVerdict
from core.capture.ring import CaptureRing
from core.contract.options import KvBits, KvType, LoadSettings
from core.conversations.store import ConversationStore
from core.errors import BenchtopError, Cancelled, LoadFailed
from core.events import Event, Failed, Finished, FinishReason, TextDelta, Timings, Usage
from core.models.library.scan import LibraryEntry
from core.observing.recent import RecentRequests
from core.requests import Generation
from core.reuse import CacheStats
from core.serving.content import RequestContent
from core.serving.ready import Traits
from core.serving.stream import Stream
from core.snapshots import (
    EtaBasis,
    MachineSnapshot,
    ModelSnapshot,
    ModelState,
    PoolSnapshot,
    QueueStats,
    RequestRow,
    RequestState,
    Snapshot,
)
from tests.fakes.support import show_row
from tests.tui.still_store import StillDownloads, StillStore

if TYPE_CHECKING:
    from api.server import HttpServer

MEGA = 1_000_000
ANSWER = """\
A **KV cache** keeps the keys and values of tokens the model has read, so that each new token costs one step.

- It grows with every token of the context.
- A cached prefix is *not computed again*.

```python
bytes = 2 * layers * kv_heads * head_dim * context * 2
```

Shorter chats need less of it.
"""

LENGTH = EtaBasis.USUAL_LENGTH
REQUESTS = (
    RequestRow("req-7f3a91c2", "guide", RequestState.DECODE, 311, 288, 311, 164, 38.4, 3.1, 0.0, 4.6, eta_basis=LENGTH),
    RequestRow("req-02bd77e8", "guide", RequestState.DECODE, 96, 0, 96, 41, 37.9, None, 0.1, 1.3),
    RequestRow(
        "req-c51e0f46", "guide", RequestState.PREFILL, 1840, 512, 1024, 0, 0.0, 0.9, 0.2, 0.8, eta_basis=EtaBasis.PACE
    ),
    RequestRow("req-ea40b3d9", "guide", RequestState.QUEUED, 54, 0, 0, 0, 0.0, None, 0.4, 0.4, position=1),
)

GUIDE = ModelSnapshot(
    name="guide",
    engine="llamacpp",
    state=ModelState.READY,
    architecture="llama",
    quantization="Q8_0",
    parameters=3_670_016,
    context=2048,
    slots=4,
    slots_used=3,
    threads=1,
    weight_bytes=int(3.9 * MEGA),
    kv_cells=8192,
    kv_cells_used=2967,
    kv_bytes_per_token=2048,
    queue=QueueStats(pending=1, max_depth=32, total_processed=118, total_rejected=0, total_cancelled=2),
    cache=CacheStats(
        entries=6,
        memory_bytes=3 * MEGA,
        max_bytes=16 * MEGA,
        lookups=120,
        hits=96,
        prompt_tokens=9000,
        cached_tokens=6100,
        evictions=3,
    ),
    requests=REQUESTS,
    decode_rate=76.3,
    prefill_rate=842.0,
    notes=("Loaded without extra buffer types: they crash on this machine.",),
)
ECHO = ModelSnapshot(name="echo", engine="echo", state=ModelState.READY, architecture="script", context=4096, slots=8)
MACHINE = MachineSnapshot(
    cpu_percent=61.0, memory_total=16_000 * MEGA, memory_available=9_400 * MEGA, process_resident=412 * MEGA
)

RIVALS = {"llamacpp": (812.0, 76.3), "mlx": (640.0, 88.1), "mnn": None, "onnxruntime": (455.0, 31.9)}
"""Prefill and decode rate of each engine of the scripted suite; mnn crashes after its first round."""
BEFORE = 80.0
"""Decode rate of every engine in the run before."""


def rival(engine: str, threads: int, plan: SuitePlan) -> Setting:
    return Setting(
        "guide", "f00d", engine, "1.0", "gguf", threads, 512, KvType.F16, 0, prompt=plan.prompt, decoded=plan.decoded
    )


def stretch(text: str, size: int = 7) -> list[str]:
    """`text` in pieces, as tokens come."""
    return [text[at : at + size] for at in range(0, len(text), size)]


class StillWorkbench:
    """All doors of a workbench in one. Answers every question with `answer`; `load` waits for `gate`, where there is
    one, and fails with `problem`."""

    def __init__(
        self,
        models: tuple[ModelSnapshot, ...] = (GUIDE,),
        *,
        answer: str = ANSWER,
        before: Sequence[Event] = (),
        gate: asyncio.Event | None = None,
        problem: BenchtopError | None = None,
        hold_stream: bool = False,
        hold_suite: str | None = None,
        suite_problem: Exception | None = None,
        captures: CaptureRing | None = None,
        conversations: ConversationStore | None = None,
    ) -> None:
        """The suite stands still at the engine `hold_suite` until it is stopped; it raises `suite_problem`."""
        self.models = self.requests = self.bench = self
        self.shown = models
        """The snapshots of its models."""
        self.answer = answer
        self.answers: dict[str, str] = {}
        """Of models that answer otherwise."""
        self.before = before
        """Events that come before the answer's words."""
        self.gate = gate
        self.problem = problem
        self.hold_stream = hold_stream
        self.hold_suite = hold_suite
        self.suite_problem = suite_problem
        self.suites: list[tuple[list[str], SuitePlan]] = []
        self.qualities: list[tuple[list[str], list[KvType], int]] = []
        self.asked: list[Generation] = []
        self.cancelled: list[str] = []
        self.loaded: list[str] = []
        self.wishes: list[tuple[int | None, KvType | KvBits | None]] = []
        self.said: tuple[LoadSettings, str | None] | None = None
        self.engine_asked: str | None = None
        """Of the last load."""
        self.kept_profiles: list[str] = []
        self.machine = MACHINE
        self.closed = False
        self.skipped = False
        self.store = StillStore()
        self.captures = captures
        self.recent = RecentRequests()
        self.usage = None
        self.conversations = conversations

    @property
    def downloads(self) -> StillDownloads:
        return self.store.downloads

    async def load(
        self,
        name: str,
        options: LoadSettings = LoadSettings(),
        draft: str | None = None,
        engine: str | None = None,
    ) -> str:
        self.engine_asked = engine
        self.wishes.append((options.ctx_size, options.kv_type))
        self.said = (options, draft)
        if self.gate is not None:
            await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        if name.endswith(".gguf"):
            raise LoadFailed(name, f"The file {name} is not a GGUF file: it begins with the wrong bytes.")
        self.loaded.append(name)
        return name

    def skip_measuring(self) -> None:
        self.skipped = True

    async def unload(self, name: str) -> None:
        self.shown = tuple(model for model in self.shown if model.name != name)

    @property
    def default(self) -> str | None:
        return self.shown[0].name if self.shown else None

    def loaded_names(self) -> tuple[str, ...]:
        return tuple(model.name for model in self.shown if model.state is ModelState.READY)

    async def submit(self, request: Generation) -> Stream:
        self.asked.append(request)
        stream = Stream(
            f"req-{len(self.asked)}",
            42,
            1,
            timeout=None,
            withdraw=lambda: False,
            cancel=lambda: self._cut(stream),
            row=show_row,
            content=partial(RequestContent, request),
        )
        answer = self.answers.get(request.model, self.answer)
        pieces: list[Event] = [*self.before, *(TextDelta(0, piece) for piece in stretch(answer))]
        if self.hold_stream:
            stream.deliver(pieces[: len(pieces) // 2])
            return stream
        usage = Usage(prompt_tokens=42, cached_tokens=16, completion_tokens=97)
        end = Finished(0, FinishReason.STOP, usage, Timings(queued=0.001, prefill=0.021, decode=2.5))
        stream.deliver([*pieces, end])
        return stream

    def host(self, name: str) -> SimpleNamespace:
        """A model that draws its tokens as llama.cpp does."""
        return SimpleNamespace(traits=Traits(None, stepwise=True, vocabulary=None))

    @asynccontextmanager
    async def reading(self, model: str) -> AsyncIterator[SimpleNamespace]:
        """A reader for which each word is a token."""

        async def encode(text: str, field: str, *, special: bool, begin: bool) -> list[int]:
            return [*range(len(text.split()))]

        yield SimpleNamespace(encode=encode)

    def _cut(self, stream: Stream) -> None:
        self.cancelled.append(stream.request_id)
        stream.deliver([Failed(Cancelled())])

    def cancel(self, request_id: str) -> bool:
        self.cancelled.append(request_id)
        return True

    def row(self, request_id: str) -> RequestRow | None:
        return next((row for row in self.snapshot().requests if row.id == request_id), None)

    def content(self, request_id: str) -> RequestContent | None:
        return next((RequestContent(each) for each in self.asked if each.request_id == request_id), None)

    def snapshot(self) -> Snapshot:
        pool = PoolSnapshot(limit=9_600 * MEGA, used=sum(each.weight_bytes for each in self.shown))
        return Snapshot(taken=0.0, uptime=754.0, models=self.shown, machine=self.machine, pool=pool)

    def engines(self) -> tuple[Any, ...]:
        return (
            SimpleNamespace(
                name="llamacpp", platform="any", priority=10, available=True, version="0.3.30", reason=None, mend=None
            ),
            SimpleNamespace(
                name="echo", platform="any", priority=90, available=True, version="1", reason=None, mend=None
            ),
            SimpleNamespace(
                name="mlx",
                platform="darwin-arm64",
                priority=5,
                available=False,
                version=None,
                reason="mlx-lm is not installed.",
                mend="uv sync --extra mlx",
            ),
        )

    def pin(self, name: str, on: bool = True) -> None:
        self.shown = tuple(replace(each, pinned=on) if each.name == name else each for each in self.shown)

    def keep_profile(self, name: str) -> None:
        self.kept_profiles.append(name)

    def library(self) -> tuple[LibraryEntry, ...]:
        return self.store.entries

    async def measure(
        self, model: str, *, prompt_tokens: int = 256, new_tokens: int = 64, rounds: int = 3, streams: int = 1
    ) -> AsyncIterator[Any]:
        from core.bench import runner

        for number in range(1, rounds + 1):
            yield runner.RoundStarted(number, rounds)
            for step in range(1, 25):
                yield runner.Progress(
                    number, runner.BenchPhase.PREFILL, step * 10, step * 0.02, 700.0 + 20 * ((step * 7 + number) % 9)
                )
            for step in range(1, 41):
                yield runner.Progress(
                    number, runner.BenchPhase.DECODE, step, step * 0.026, 36.0 + ((step * 5 + number) % 7) / 2
                )
            yield runner.RoundDone(number, 780.0 + number, 37.5 + number / 10, 0.33)
        yield runner.Summary(rounds, 782.0, 37.7, 0.1, 0.33, 412 * MEGA)

    def run_suite(
        self, names: Sequence[str], plan: SuitePlan, stop: threading.Event, tell: Callable[[SuiteEvent], None]
    ) -> BenchRun:
        self.suites.append((list(names), plan))
        if self.suite_problem is not None:
            raise self.suite_problem
        cases = [(name, engine, threads) for name in names for engine in RIVALS for threads in plan.threads or (2,)]
        rows = []
        for number, (name, engine, threads) in enumerate(cases, 1):
            setting, rates = replace(rival(engine, threads, plan), model=name), RIVALS[engine]
            tell(CaseStarted(number, len(cases), setting))
            for step in range(plan.rounds if rates is not None else 1):
                prefill, decode = rates or (500.0, 60.0)
                tell(CaseSampled(setting, prefill, decode * (0.96 + 0.02 * (step * 3 % 5))))
                if engine == self.hold_suite:
                    stop.wait()
                    raise Cancelled
            row = BenchRow(setting, problem="crashed with SIGSEGV")
            if rates is not None:
                row = BenchRow(setting, *rates, 0.08, 0.315, 212 * MEGA, plan.rounds, None, 2 * rates[1], (0.98, 0.91))
            rows.append(row)
            tell(CaseDone(row))
        return BenchRun(1.0, "still", "a processor", tuple(rows))

    def measure_quality(
        self,
        names: Sequence[str],
        kv_types: Sequence[KvType],
        text: str,
        chunks: int,
        stop: threading.Event,
        tell: Callable[[QualityRow], None],
    ) -> list[QualityRow]:
        """The suite's `hold_suite` holds this as well, after its first row."""
        self.qualities.append((list(names), list(kv_types), chunks))
        rows = [
            QualityRow(
                name,
                kind.value,
                2048,
                18.31 + number,
                0.41,
                0.0123 * number,
                0.0011,
                0.21,
                1.0 - 0.02 * number,
                reference=not number,
            )
            for number, (name, kind) in enumerate(itertools.product(names, kv_types))
        ]
        for row in rows:
            tell(row)
            if self.hold_suite is not None:
                stop.wait()
                raise Cancelled
        return rows

    async def check_tools(self, model: str) -> AsyncIterator[ToolVerdict]:
        for number, case in enumerate(TOOL_CASES):
            good = number != 4
            problem = "" if good else "`hours` of set_heating is 4, not 3."
            yield ToolVerdict(
                model, case.title, called=True, right_tool=True, fits=True, exact=good, seconds=1.5, problem=problem
            )
            if self.hold_suite is not None:
                await asyncio.Event().wait()

    def trace(self, run: BenchRun) -> list[tuple[float, ...]]:
        return [(BEFORE, 0.9 * BEFORE, row.decode) for row in run.rows]

    def compare(self, run: BenchRun) -> list[Change]:
        return [Change(row, BenchRow(row.setting, decode=BEFORE)) for row in run.rows]

    async def close(self) -> None:
        self.closed = True


async def _end_nothing(_: float) -> None:
    pass


def build_still_server() -> HttpServer:
    """What the screens see of a server that runs."""
    url = "http://127.0.0.1:8080"
    seen = SimpleNamespace(
        url=url,
        ollama_url=None,
        api_key=None,
        asks_for_key=False,
        running=True,
        stop=_end_nothing,
        curl=partial(format_curl, url),
    )
    return cast("HttpServer", seen)
