"""Crash-safe start: before an engine first runs a model on this machine, a child process does.

Native code that faults takes its process with it. So a child loads the model and decodes a few tokens; when it dies or
hangs, the engine's next safer setting is tried, and what was found is kept for that engine version, model and machine.
On the way the child times the settings that are worth a choice: threads (with few cores, one can be faster than two
that wait for each other), and the variants an engine offers.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.bench.child import Outcome, run_trial
from core.bench.trial import Line, Refused, Sampled, Settled, TrialRequest, Tried
from core.engines.base import Artifact, Available, Engine, LoadOptions, Native, Tunable
from core.errors import BudgetSpent, EngineFailed
from core.files import write_atomically
from core.hardware import machine
from core.models.formats import mark
from core.telemetry.log import get_logger

ROUNDS = 3
WORTH_IT = 1.05
"""More threads, or another setting than the first, must be faster by this factor."""
log = get_logger(__name__)


class Rate(Struct, frozen=True):
    """Tokens a second of one sequence with one setting, medians of the rounds."""

    options: LoadOptions
    threads: int
    decode: float
    prefill: float
    first_token: float
    """Seconds."""
    spread: float
    """(largest - smallest) / median of the decode rates."""
    memory: int = 0
    """Resident bytes of the child."""


class Failure(Struct, frozen=True):
    """A setting that the child did not survive."""

    options: LoadOptions
    how: str
    """`crashed with SIGILL`, `hung for 120 s` ..."""


class Verdict(Struct, frozen=True):
    """What is known of an engine and a model on this machine; `options` are safe, and the fastest of those tried."""

    engine: str
    version: str
    model: str
    """The name it was tried under; what counts is the file's fingerprint."""
    machine: str
    options: LoadOptions
    rates: tuple[Rate, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def best(self) -> Rate | None:
        """With the settings taken; None where nothing was measured."""
        mine = [rate for rate in self.rates if rate.options == self.options]
        return next((rate for rate in mine if rate.threads == self.threads), None)

    @property
    def threads(self) -> int | None:
        """The best number for decoding; None where nothing was measured."""
        return best_threads({rate.threads: rate.decode for rate in self.rates if rate.options == self.options})

    @property
    def batch_threads(self) -> int | None:
        """The best number for prefill and for steps of several sequences."""
        return best_threads({rate.threads: rate.prefill for rate in self.rates if rate.options == self.options})

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know: which settings were given up, and why."""
        return tuple(
            f"The {self.engine} engine {failure.how} in a trial run with {describe(failure.options)}; "
            f"it now runs with {describe(self.options)}."
            for failure in self.failures
        )


def describe(options: LoadOptions) -> str:
    """The part of the settings that safer or faster ones change, in words; none where they are the usual ones."""
    words = [] if options.extra_buffers else ["plain buffers"]
    if options.flash_attention is not None:
        words.append(f"flash attention {'on' if options.flash_attention else 'off'}")
    if options.threads is not None:
        words.append(f"{options.threads} thread{'s'[: options.threads != 1]}")
    return " and ".join(words)


def best_threads(rates: Mapping[int, float]) -> int | None:
    """The fewest threads that no larger number beats clearly."""
    best: int | None = None
    for threads in sorted(rates):
        if best is None or rates[threads] > rates[best] * WORTH_IT:
            best = threads
    return best


def thread_counts(options: LoadOptions) -> tuple[int, ...]:
    """One, then doubling up to the machine's cores; only what was asked for where something was."""
    if options.threads is not None:
        return (options.threads,)
    cores = machine().cores
    counts = {1, cores}
    count = 2
    while count < cores:
        counts.add(count)
        count *= 2
    return tuple(sorted(counts))


Listener = Callable[[Line], None]
Learn = Callable[[str, Artifact, LoadOptions, int], None]
"""Told an engine's name, a model, how it was loaded, and the bytes it took."""


def _learn_nothing(engine: str, artifact: Artifact, options: LoadOptions, taken: int) -> None:
    pass


class Prober:
    """Finds verdicts and keeps them, one file each. `probe` blocks: call it on a worker thread."""

    def __init__(self, folder: Path, timeout: float, learn: Learn = _learn_nothing) -> None:
        """`learn` is told what a model came to take, where a trial run measured that."""
        self._folder = folder
        self._timeout = timeout
        self._learn = learn

    def kept(self, engine: Engine, artifact: Artifact, options: LoadOptions) -> Verdict | None:
        """The verdict of an earlier trial run, where there is one."""
        return _read(self._path(engine, artifact, options))

    def probe(
        self,
        engine: Engine,
        location: str,
        artifact: Artifact,
        options: LoadOptions,
        stop: threading.Event,
        *,
        budget: float = 5.0,
        limit: float | None = None,
        fresh: bool = False,
        tell: Listener | None = None,
    ) -> Verdict:
        """The kept verdict, or (also when `fresh`) a new one, for which about `budget` seconds are measured.

        Raises EngineFailed when no setting survives, BudgetSpent when there is no result after `limit` seconds,
        Cancelled on `stop`.
        """
        kept = None if fresh else self.kept(engine, artifact, options)
        if kept is not None:
            return kept
        trial = _Trial(engine, location, artifact, options, budget, self._timeout, limit, stop, tell, self._learn)
        verdict = trial.verdict(_version(engine))
        write_atomically(self._path(engine, artifact, options), msgspec.json.encode(verdict))
        return verdict

    def verdicts(self) -> list[Verdict]:
        """All that are kept, for `tui doctor`."""
        return [verdict for path in sorted(self._folder.glob("*.json")) if (verdict := _read(path)) is not None]

    def _path(self, engine: Engine, artifact: Artifact, options: LoadOptions) -> Path:
        place = (engine.name, _version(engine), machine().fingerprint, mark(artifact))
        asked = (options.kv_type.value, str(options.extra_buffers), str(options.threads), str(options.flash_attention))
        loras = (f"{lora.path} {lora.scale}" for lora in options.loras)
        digest = hashlib.sha256("\n".join((*place, *asked, *loras)).encode()).hexdigest()[:24]
        return self._folder / f"{engine.name}-{digest}.json"


class _Trial:
    """Children, one after another, until the settings that were worth trying are tried or one is safe."""

    def __init__(
        self,
        engine: Engine,
        location: str,
        artifact: Artifact,
        options: LoadOptions,
        budget: float,
        timeout: float,
        limit: float | None,
        stop: threading.Event,
        tell: Listener | None,
        learn: Learn,
    ) -> None:
        self._learn = learn
        self._end = None if limit is None else time.monotonic() + limit
        self._engine = engine
        self._location = location
        self._artifact = artifact
        self._asked = options
        self._budget = budget
        self._timeout = timeout
        self._stop = stop
        self._tell = tell
        self._rates: list[Rate] = []
        self._failures: list[Failure] = []
        self._refused = False

    def verdict(self, version: str) -> Verdict:
        pending = list(self._engine.variants(self._asked)) if isinstance(self._engine, Tunable) else [self._asked]
        while pending:
            reached, trouble = self._run(pending)
            if trouble is None:
                break
            crashed = pending[min(reached, len(pending) - 1)]
            log.warning("engine failed a trial run", engine=self._engine.name, model=self._artifact.name, how=trouble)
            self._failures.append(Failure(crashed, trouble))
            pending = pending[reached + 1 :]
            if not pending and not self._rates and isinstance(self._engine, Native):
                safer = self._engine.safer(crashed)
                pending = [safer] if safer is not None else []
        options = self._fastest()
        if options is None:
            raise EngineFailed(
                f"The {self._engine.name} engine cannot run {self._artifact.name} on this machine: "
                f"in a trial run it {self._failures[-1].how} even with its safest settings."
            )
        name, model = self._engine.name, self._artifact.name
        rates, failures = tuple(self._rates), tuple(self._failures)
        return Verdict(name, version, model, machine().fingerprint, options, rates, failures)

    def _run(self, variants: list[LoadOptions]) -> tuple[int, str | None]:
        """Run a child over the variants; returns the one it died in, and how, or None where it lived."""
        threads = thread_counts(self._asked)
        request = TrialRequest(self._location, self._artifact, tuple(variants), threads, ROUNDS, self._budget)
        limit = None if self._end is None else max(0.0, self._end - time.monotonic())
        outcome = run_trial(request, self._timeout, self._stop, self._tell, limit)
        self._collect(variants, outcome)
        if outcome.late and not self._rates:
            raise BudgetSpent("it came to no result in the time that measuring may take")
        ended = [line.variant for line in outcome.lines if isinstance(line, Tried | Refused)]
        # A refusal is not about this machine; loading in earnest will say the same, in the engine's own words.
        self._refused = self._refused or any(isinstance(line, Refused) for line in outcome.lines)
        return max(ended, default=-1) + 1, outcome.trouble

    def _collect(self, variants: list[LoadOptions], outcome: Outcome) -> None:
        """Rates of the variants that came to their end, or that were well under way when time was up."""
        for line in outcome.lines:
            if isinstance(line, Settled):
                settled = replace(variants[line.variant], context=line.context, slots=1)
                self._learn(self._engine.name, self._artifact, settled, line.grown)
        memory = {line.variant: line.memory for line in outcome.lines if isinstance(line, Tried)}
        if outcome.late:
            memory = {line.variant: 0 for line in outcome.lines if isinstance(line, Sampled)} | memory
        for variant, resident in memory.items():
            samples = [line for line in outcome.lines if isinstance(line, Sampled) and line.variant == variant]
            for threads in sorted({sample.threads for sample in samples}):
                mine = [sample for sample in samples if sample.threads == threads]
                decode = [sample.decode for sample in mine]
                middle = median(decode)
                rate = Rate(
                    options=variants[variant],
                    threads=threads,
                    decode=middle,
                    prefill=median(sample.prefill for sample in mine),
                    first_token=median(sample.first_token for sample in mine),
                    spread=(max(decode) - min(decode)) / middle if middle else 0.0,
                    memory=resident,
                )
                self._rates.append(rate)

    def _fastest(self) -> LoadOptions | None:
        """The first of the settings that survived, unless another is clearly faster; None when none did."""
        best: tuple[float, LoadOptions] | None = None
        for options in dict.fromkeys(rate.options for rate in self._rates):
            rate = max(rate.decode for rate in self._rates if rate.options == options)
            if best is None or rate > best[0] * WORTH_IT:
                best = rate, options
        if best is not None:
            return best[1]
        return self._asked if self._refused else None


def _version(engine: Engine) -> str:
    availability = engine.availability()
    return availability.version if isinstance(availability, Available) else "unknown"


def _read(path: Path) -> Verdict | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Verdict)
    except (OSError, msgspec.MsgspecError):
        return None


def applied(verdict: Verdict, options: LoadOptions) -> LoadOptions:
    """The options asked for, with what the verdict found best where they leave a choice."""
    return replace(
        verdict.options,
        context=options.context,
        slots=options.slots,
        memory=options.memory,
        batch=options.batch,
        loras=options.loras,
        threads=options.threads or verdict.options.threads or verdict.threads,
        batch_threads=options.batch_threads or verdict.options.batch_threads or verdict.batch_threads,
    )
