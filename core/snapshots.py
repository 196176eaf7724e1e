"""Immutable snapshots for gauges: what a front end or `/v1/.../stats` shows, taken at one moment.

Rates are tokens a second, sizes bytes, times seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from core.requests import Priority
from core.reuse import CacheStats, Reuse, TierStats


class ModelKind(Enum):
    """What a model does, as far as asking it differs."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    RERANKING = "reranking"
    TRANSCRIPTION = "transcription"


class RequestState(Enum):
    LOADING = "loading"
    """Its model is being loaded, or waits for room."""
    QUEUED = "queued"
    PREFILL = "prefill"
    DECODE = "decode"
    PREEMPTED = "preempted"
    """Its KV state was put aside for others; it goes on when there is room."""
    ENDED = "ended"


class EtaBasis(Enum):
    """What an estimate of a request's time is made of."""

    PACE = "pace"
    """How fast what is left was computed so far."""
    MAX_TOKENS = "max_tokens"
    """The pace, and the tokens that the answer may have."""
    USUAL_LENGTH = "usual_length"
    """The pace, and how long this model's answers were lately."""


class RequestRow(Struct, frozen=True):
    """One request on the request board."""

    id: str
    model: str
    state: RequestState
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prefilled: int = 0
    """Prompt tokens in the KV cache already, cached ones too."""
    completion_tokens: int = 0
    """Summed over the choices."""
    rate: float = 0.0
    """Decode tokens a second so far."""
    eta: float | None = None
    """Estimated seconds until the first token, while in prefill; until the end, while its answer is written, and for a
    transcription."""
    waited: float = 0.0
    """Seconds in the queue; of one whose model is being loaded, for that."""
    elapsed: float = 0.0
    """Seconds since it was submitted."""
    priority: Priority = Priority.NORMAL
    key: str = ""
    """The name of the API key that it came with; empty where there was none."""
    route: str = ""
    """Why this model answers, where the client left the choice to the workbench."""
    notes: tuple[str, ...] = ()
    """What was done to the prompt that its sender may not expect, in sentences."""
    reuse: Reuse = Reuse()
    """How much of the prompt was reused, and why no more."""
    guessed_tokens: int = 0
    """That were guessed ahead."""
    kept_tokens: int = 0
    """Guesses that came true; they count among `completion_tokens`."""
    eta_basis: EtaBasis | None = None
    """What the estimated time is made of; None where it is not estimated."""
    position: int = 0
    """Its place in the queue, from one; zero where it does not wait there."""


class QueueStats(Struct, frozen=True):
    pending: int = 0
    max_depth: int = 0
    """Zero: no bound."""
    total_processed: int = 0
    total_rejected: int = 0
    total_timed_out: int = 0
    total_cancelled: int = 0
    total_looped: int = 0
    """Answers that the loop guard ended; they are processed ones too."""

    def after(self, past: QueueStats) -> QueueStats:
        """With the totals of what went before added: totals never go back."""
        return replace(
            self,
            total_processed=self.total_processed + past.total_processed,
            total_rejected=self.total_rejected + past.total_rejected,
            total_timed_out=self.total_timed_out + past.total_timed_out,
            total_cancelled=self.total_cancelled + past.total_cancelled,
            total_looped=self.total_looped + past.total_looped,
        )


class PositionStats(Struct, frozen=True):
    """Guesses that stood first in their step, or second, and so on."""

    guessed: int = 0
    kept: int = 0
    """Of those, how many came true, with all before them."""

    @property
    def acceptance(self) -> float:
        return self.kept / self.guessed if self.guessed else 0.0


class DraftStats(Struct, frozen=True):
    """Guesses at tokens to come, see `core.decoding.speculate`."""

    by: str
    """`prompt-lookup`, or the name of the draft model."""
    guessed: int = 0
    """Tokens guessed and verified."""
    kept: int = 0
    """Of those, how many came true."""
    positions: tuple[PositionStats, ...] = ()
    """The same of the first guess of a step, the second, and so on."""
    seconds_lost: float = 0.0
    """That steps with guesses took beyond what their tokens would have taken without; searching in vain included, and
    what a draft model took to read."""
    seconds_gained: float = 0.0
    """That steps with guesses took less."""
    problem: str = ""
    """Why nothing is guessed any more."""

    @property
    def acceptance(self) -> float:
        """Share of the guesses that came true."""
        return self.kept / self.guessed if self.guessed else 0.0


class ModelState(Enum):
    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    """Its engine failed; it is being loaded again."""
    BROKEN = "broken"
    """It broke down after it was loaded, and was given up; the next request loads it anew."""
    FAILED = "failed"
    """It could not be loaded; the next request tries again."""

    @property
    def is_down(self) -> bool:
        """Whether it serves nothing, and nothing is under way that would change that."""
        return self in (ModelState.BROKEN, ModelState.FAILED)


class ModelSnapshot(Struct, frozen=True):
    """A loaded (or loading) model."""

    name: str
    engine: str
    state: ModelState
    kind: ModelKind = ModelKind.CHAT
    """Known once it is loaded."""
    detail: str = ""
    """What it is doing, or why it failed."""
    architecture: str = ""
    quantization: str = ""
    parameters: int = 0
    context: int | None = None
    """Tokens that one request may hold; None while the model loads, and where a server elsewhere does not tell."""
    trained_context: int = 0
    vocabulary: int = 0
    """Number of token ids; zero where it is unknown."""
    slots: int = 0
    slots_used: int = 0
    threads: int = 0
    weight_bytes: int = 0
    kv_cells: int = 0
    kv_cells_used: int = 0
    kv_bytes_per_token: int = 0
    kv_type: str = ""
    """Of the KV cache, as the settings call it; empty where it is unknown."""
    queue: QueueStats = QueueStats()
    cache: CacheStats = CacheStats()
    draft: DraftStats | None = None
    """None where nothing is guessed."""
    requests: tuple[RequestRow, ...] = ()
    decode_rate: float = 0.0
    """Tokens drawn a second over all sequences, lately."""
    prefill_rate: float = 0.0
    """Prompt tokens computed a second, lately."""
    notes: tuple[str, ...] = ()
    resident: int = 0
    """Bytes that loading it was measured to take."""
    pinned: bool = False
    in_use: int = 0
    """Requests that hold it, also while it loads."""
    idle: float = 0.0
    """Seconds since a request for it last began or ended."""
    idle_limit: float = math.inf
    """Seconds that it may be idle before it is unloaded."""


class Absent(Struct, frozen=True):
    """A model that is served and not loaded now: a request for it loads it."""

    name: str
    format: str
    size: int
    """Bytes on disk."""
    pinned: bool = False
    problem: str = ""
    """Why a request would find it unusable, as far as that is known without trying."""


class LoadFailure(Struct, frozen=True):
    """A model whose last loading failed; the next request tries again."""

    name: str
    reason: str
    age: float
    """Seconds since then."""


class UnloadCause(Enum):
    """Why a loaded model was sent away."""

    ASKED = "asked"
    IDLE = "idle"
    ROOM = "room"
    """Another model wanted its memory."""
    MEMORY = "memory"
    """The process took more than all models may."""
    BROKEN = "broken"
    """It broke down, and a request had it loaded anew."""


class LifeStats(Struct, frozen=True):
    """What was counted of a model over all its loads; none of it goes back."""

    name: str
    """Empty for all the models together that are not counted one by one."""
    loads: int = 0
    load_seconds: float = 0.0
    load_failures: int = 0
    restarts: int = 0
    """Loads because its engine had failed; they are among `loads`."""
    unloads: Mapping[UnloadCause, int] = {}


class MemoryUse(Struct, frozen=True):
    """What models take of one accelerator, in bytes."""

    device: str
    """Its id."""
    used: int
    limit: int
    """For all models together."""


class PoolSnapshot(Struct, frozen=True):
    """The memory that all models share."""

    limit: int = 0
    used: int = 0
    """Of main memory, by the models that are loaded, as measured; as expected, for one that is loading."""
    elsewhere: tuple[MemoryUse, ...] = ()
    """Of accelerators, once a model was loaded that might lie there."""
    evictions: int = 0
    absent: tuple[Absent, ...] = ()
    failures: tuple[LoadFailure, ...] = ()
    """The last of each model, the newest one at the end; also of models that are no longer known."""
    past_queue: QueueStats = QueueStats()
    """The totals of models that were unloaded or failed; nothing else of it counts."""
    past_cache: CacheStats = CacheStats()
    """The same of their prefix caches."""
    lives: tuple[LifeStats, ...] = ()
    """Of the models that were ever loaded."""


class DeviceGauge(Struct, frozen=True):
    """An accelerator that models can lie on."""

    id: str
    """As llama.cpp calls it."""
    name: str
    backend: str
    """What computes there: `CUDA`, `Vulkan`."""
    memory_total: int
    memory_free: int
    shares_host: bool = False
    """Whether its memory is the machine's."""
    load: float | None = None
    """Percent of its time that it computes; None where nobody tells."""


class MachineSnapshot(Struct, frozen=True):
    cpu_percent: float
    """Of all cores together, 0 to 100, since the snapshot before."""
    memory_total: int
    memory_available: int
    process_resident: int
    """Resident bytes of this process."""
    devices: tuple[DeviceGauge, ...] = ()
    """The accelerators, as last told: a few seconds old at most. None until the first look at them has ended."""


class UsageTotals(Struct, frozen=True):
    """What some requests have used."""

    requests: int = 0
    failures: int = 0
    """Of the requests, those that ended in an error."""
    cancelled: int = 0
    """Of the requests, those that their client left or somebody ended."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt's tokens, those that were not computed."""
    reasoning_tokens: int = 0
    """Of the answer's tokens, those of thoughts."""
    completion_tokens: int = 0
    seconds: float = 0.0
    """From their arrival to their end, what they waited among it; summed up, also of those that ran at once."""


class Snapshot(Struct, frozen=True):
    taken: float
    """Seconds since the epoch."""
    uptime: float
    models: tuple[ModelSnapshot, ...]
    machine: MachineSnapshot
    pool: PoolSnapshot = PoolSnapshot()
    opening: tuple[str, ...] = ()
    """Models that are being looked up, to be loaded or served."""
    prefixes_in_memory: TierStats = TierStats()
    prefixes_on_disk: TierStats = TierStats()
    arriving: tuple[RequestRow, ...] = ()
    """Requests that no model has yet; their model may not even be among `models`."""
    used_today: UsageTotals | None = None
    """Of this process, since it began or since midnight; None where no account is kept."""

    @property
    def requests(self) -> tuple[RequestRow, ...]:
        """All that wait or run, those first that wait for their model."""
        return (*self.arriving, *(row for model in self.models for row in model.requests))
