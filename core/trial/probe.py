"""Crash-safe start: before an engine first runs a model on this machine, a child process does.

Native code that faults takes its process with it. So a child loads the model and decodes a few tokens; when it dies or
hangs, the engine's next safer setting is tried, and what was found is kept for that engine version, model and machine.
On the way the child times the settings that are worth a choice: threads (with few cores, one can be faster than two
that wait for each other), and the variants an engine offers. Where there is time left, a second child times long
prompts with the sizes of batch and micro-batch that an engine offers.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from msgspec.structs import replace

from core.contract.abilities import Batched, Tunable
from core.contract.artifact import Artifact
from core.contract.engine import Available, Engine, Native
from core.contract.options import LoadOptions
from core.errors import ArtifactError, BudgetSpent, EngineFailed
from core.hardware import describe_machine
from core.kept import keep_value, load_kept
from core.models.formats.detect import find_newest_write, mark_artifact
from core.telemetry.log import get_logger
from core.trial.child import Deepened, Line, Sampled, Settled, TrialRequest, VariantLoaded, VariantRefused, VariantTried
from core.trial.cpu_load import Times, measure_other_load, read_times
from core.trial.parent import TrialOutcome, run_trial
from core.trial.tuning import Pace, TuningPlan, build_tuning_request, collect_size_rates, plan_tuning
from core.trial.verdict import (
    UNTOLD,
    UNTRIED,
    WORTH_IT_FACTOR,
    Failure,
    ProbeVerdict,
    Rate,
    apply_fitting,
    project_decode,
)

ROUNDS = 3
REHEARSAL_VERSION = 2
"""Goes up when trial runs learn to try more: the verdict of one that tried less says less."""
ENDING_SECONDS = 0.25
"""Seconds in which a child is ended whose time is up."""
COARSE_LAYERS = 4
"""Placements with fewer layers between them are alike in speed."""
MOST_DEEP_TOKENS = 1024
"""Of the long prompt behind which settings are compared."""
log = get_logger(__name__)


def list_thread_counts(options: LoadOptions) -> tuple[int, ...]:
    """One, then doubling up to the machine's cores; only what was asked for where something was."""
    if options.threads is not None:
        return (options.threads,)
    cores = describe_machine().cores
    counts = {1, cores}
    count = 2
    while count < cores:
        counts.add(count)
        count *= 2
    return tuple(sorted(counts))


Listener = Callable[[Line], None]
Learn = Callable[[str, Artifact, LoadOptions, int], None]
"""Told an engine's name, a model, how it was loaded, and the bytes it took."""


Rated = Callable[[Artifact, LoadOptions, float], None]
"""Told a model, how it was loaded, and how many tokens a second it decoded."""


def _rate_nothing(artifact: Artifact, options: LoadOptions, tokens: float) -> None:
    pass


def _learn_nothing(engine: str, artifact: Artifact, options: LoadOptions, taken: int) -> None:
    pass


class Prober:
    """Finds verdicts and keeps them, one file each. `probe` blocks: call it on a worker thread."""

    def __init__(
        self,
        folder: Path,
        timeout: float,
        learn: Learn = _learn_nothing,
        clock: Callable[[], Times] = read_times,
        rated: Rated = _rate_nothing,
    ) -> None:
        """`learn` is told what a model came to take, where a trial run measured that; `rated`, how fast it was; `clock`
        tells what the machine's processors have done."""
        self._rated = rated
        self._folder = folder
        self._timeout = timeout
        self._learn = learn
        self._clock = clock

    def kept(self, engine: Engine, artifact: Artifact, options: LoadOptions) -> ProbeVerdict | None:
        """The verdict of an earlier trial run, where there is one."""
        return load_kept(self._path(engine, artifact, options), ProbeVerdict)

    def settled(self, engine: Engine, artifact: Artifact, options: LoadOptions) -> LoadOptions:
        """The options with what an earlier trial run found best, as the model would be loaded now."""
        kept = self.kept(engine, artifact, options)
        return options if kept is None else apply_fitting(engine, artifact, kept, options)

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
        skip: threading.Event | None = None,
    ) -> ProbeVerdict:
        """The kept verdict, or (also when `fresh`) a new one, for which about `budget` seconds are measured.

        Once `skip` is set, and one round was measured, what was measured decides.

        Raises EngineFailed when no setting survives, BudgetSpent when there is no result after `limit` seconds,
        Cancelled on `stop`.
        """
        kept = None if fresh else self.kept(engine, artifact, options)
        if kept is not None:
            return kept
        tried = replace(options, **dict.fromkeys(UNTOLD))
        trial = _Trial(engine, location, artifact, tried, budget, self._timeout, limit, stop, tell, self._learn, skip)
        before = self._clock()
        verdict = trial.verdict(_version(engine))
        verdict = replace(verdict, others=measure_other_load(before, self._clock()))
        if verdict.rates or not trial.short:
            keep_value(self._path(engine, artifact, options), verdict)
        if (best := verdict.best) is not None and not verdict.disturbed:
            self._rated(artifact, best.options, best.decode)
        return verdict

    def verdicts(self) -> list[ProbeVerdict]:
        """All that are kept, for `tui doctor`."""
        try:
            paths = sorted(self._folder.glob("*.json"))
        except OSError:
            return []
        return [verdict for path in paths if (verdict := load_kept(path, ProbeVerdict)) is not None]

    def _path(self, engine: Engine, artifact: Artifact, options: LoadOptions) -> Path:
        model = (mark_artifact(artifact), str(find_newest_write(artifact.path)), str(REHEARSAL_VERSION))
        subject = (engine.name, _version(engine), describe_machine().fingerprint, *model, *_mark_placement(options))
        asked = (f"{name} {getattr(options, name)}" for name in options.__struct_fields__ if name not in UNTRIED)
        digest = hashlib.sha256(os.fsencode("\n".join((*subject, *asked)))).hexdigest()[:24]
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
        skip: threading.Event | None,
    ) -> None:
        self._skip = skip
        self._sampled = False
        self._learn = learn
        self._began = time.monotonic()
        self._end = None if limit is None else self._began + limit
        self._start = 0.0
        """Seconds until the first child was ready to load."""
        self._load = 0.0
        """Seconds of loading, at most."""
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
        self.short = False
        """A setting was refused for want of memory: that says nothing of the next time."""
        self._tried: set[LoadOptions] = set()
        self._deepened = (0, 0)
        """The long prompt that settings are timed behind, once that is known: its tokens, and the threads."""

    def verdict(self, version: str) -> ProbeVerdict:
        pending = self._list_variants(self._asked)
        while pending:
            self._survive(pending)
            best = self._fastest()
            # What is faster with another setting may be faster still with a third: settings are tried one at a time.
            late = self._left < 0 or best is None or not isinstance(self._engine, Tunable)
            pending = (
                [] if late or best is None else [each for each in self._list_variants(best) if each not in self._tried]
            )
        options = self._fastest()
        if options is None:
            raise EngineFailed(
                f"The {self._engine.name} engine cannot run {self._artifact.name} on this machine: "
                f"in a trial run it {self._failures[-1].how} even with its safest settings."
            )
        name, model = self._engine.name, self._artifact.name
        rates, failures = tuple(self._rates), tuple(self._failures)
        machine = describe_machine().fingerprint
        verdict = ProbeVerdict(name, version, model, machine, options, rates, failures, depth=self._deepened[0])
        plan = self._planned(verdict)
        return verdict if plan is None else self._tuned(verdict, plan)

    def _list_variants(self, options: LoadOptions) -> list[LoadOptions]:
        if not isinstance(self._engine, Tunable):
            return [options]
        try:
            return list(self._engine.variants(self._artifact, options))
        except ArtifactError:
            # Loading it says what is wrong.
            return [options]

    def _survive(self, pending: list[LoadOptions]) -> None:
        """Try settings, one child after another, as each dies of one of them; then safer ones, until some live."""
        while pending:
            reached, trouble = self._run(pending)
            if trouble is None:
                self._tried.update(pending)
                break
            self._tried.update(pending[:reached])
            crashed = pending[min(reached, len(pending) - 1)]
            log.warning("engine failed a trial run", engine=self._engine.name, model=self._artifact.name, how=trouble)
            self._failures.append(Failure(crashed, trouble))
            self._tried.add(crashed)
            pending = pending[reached + 1 :]
            if not self._rates and isinstance(self._engine, Native) and (safer := self._engine.safer(crashed)):
                # What else has the setting that is given up comes last: it would most likely crash as well.
                first = [each for each in self._list_variants(safer) if each not in self._tried]
                pending = [*first, *(each for each in pending if each not in first)]

    def _run(self, variants: list[LoadOptions]) -> tuple[int, str | None]:
        """Run a child over the variants; returns the one it died in, and how, or None where it lived."""
        threads = list_thread_counts(self._asked)
        compared = len(variants) > 1 or bool(self._rates)
        request = TrialRequest(
            self._location,
            self._artifact,
            tuple(variants),
            threads,
            ROUNDS,
            max(0.0, self._left),
            deep=MOST_DEEP_TOKENS if compared and not self._rates else 0,
            deepened=self._deepened,
            weighed=not self._rates,
        )
        limit = None if self._end is None else max(0.0, self._end - time.monotonic())
        outcome = run_trial(request, self._timeout, self._stop, self._hear, limit, self._is_enough)
        self._collect(variants, outcome)
        if outcome.late and not self._rates:
            raise BudgetSpent("it came to no result in the time that measuring may take")
        # A refusal is not about this machine; loading in earnest will say the same, in the engine's own words.
        refusals = [line for line in outcome.lines if isinstance(line, VariantRefused)]
        self._refused = self._refused or bool(refusals)
        self.short = self.short or any(line.short for line in refusals)
        return _find_reached(outcome), outcome.trouble

    def _collect(self, variants: list[LoadOptions], outcome: TrialOutcome) -> None:
        """Rates of the variants that came to their end, or that were well under way when time was up."""
        for line in outcome.lines:
            if isinstance(line, Settled):
                settled = replace(variants[line.variant], ctx_size=line.context, slots=1)
                self._learn(self._engine.name, self._artifact, settled, line.grown)
        memory = {line.variant: line.memory for line in outcome.lines if isinstance(line, VariantTried)}
        deepened = {line.variant: line for line in outcome.lines if isinstance(line, Deepened)}
        if not self._deepened[0]:
            self._deepened = next(((line.depth, line.threads) for line in deepened.values()), (0, 0))
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
                    behind=deepened[variant].decode if variant in deepened else 0.0,
                )
                self._rates.append(rate)

    def _hear(self, line: Line) -> None:
        if isinstance(line, VariantLoaded):
            self._start = self._start or time.monotonic() - self._began - line.seconds
            self._load = max(self._load, line.seconds)
        self._sampled = self._sampled or isinstance(line, Sampled)
        if self._tell is not None:
            self._tell(line)

    def _is_enough(self) -> bool:
        """Whether somebody who waits wants no more measured, and it is known that the engine survives the model."""
        return self._skip is not None and self._skip.is_set() and self._sampled

    @property
    def _left(self) -> float:
        """Seconds of the budget, so that even a child which has to be ended is gone when they are over."""
        if self._is_enough():
            return -1.0
        left = self._began + self._budget - ENDING_SECONDS - time.monotonic()
        return left if self._end is None else min(left, self._end - ENDING_SECONDS - time.monotonic())

    def _planned(self, verdict: ProbeVerdict) -> TuningPlan | None:
        """The sizes of batch that there is time to measure; None where there is no choice, or nothing was measured."""
        rates = [rate.prefill for rate in verdict.rates if rate.options == verdict.options]
        if not rates or not isinstance(self._engine, Batched):
            return None
        try:
            sizes = self._engine.sizes(self._artifact, verdict.options)
        except ArtifactError:
            return None
        return plan_tuning(sizes, Pace(self._start, self._load, max(rates)), self._left)

    def _tuned(self, verdict: ProbeVerdict, plan: TuningPlan) -> ProbeVerdict:
        """The verdict with what long prompts told of the sizes; should the child die of one, with that alone."""
        threads, left = verdict.batch_threads or describe_machine().cores, self._left
        request = build_tuning_request(self._location, self._artifact, verdict.options, threads, plan, left)
        outcome = run_trial(request, self._timeout, self._stop, None, left)
        if outcome.trouble is None:
            return replace(verdict, sizes=collect_size_rates(plan, outcome.lines))
        crashed = request.variants[min(_find_reached(outcome), len(request.variants) - 1)]
        log.warning("engine failed with a batch", engine=verdict.engine, model=verdict.model, how=outcome.trouble)
        return replace(verdict, failures=(*verdict.failures, Failure(crashed, outcome.trouble)))

    def _fastest(self) -> LoadOptions | None:
        """The first of the settings that survived, unless another is clearly faster; None when none did. Behind a long
        prompt, where all were timed there."""
        best: tuple[float, LoadOptions] | None = None
        depth, threads = self._deepened
        deep = depth > 0 and all(rate.behind for rate in self._rates)
        for options in dict.fromkeys(rate.options for rate in self._rates):
            mine = [rate for rate in self._rates if rate.options == options]
            alike = [rate for rate in mine if rate.threads == threads] or mine
            speed = max(project_decode(rate, depth) for rate in alike) if deep else max(rate.decode for rate in mine)
            if best is None or speed > best[0] * WORTH_IT_FACTOR:
                best = speed, options
        if best is not None:
            return best[1]
        return self._asked if self._refused else None


def _find_reached(outcome: TrialOutcome) -> int:
    """The first variant that came to no end."""
    return (
        max((line.variant for line in outcome.lines if isinstance(line, VariantTried | VariantRefused)), default=-1) + 1
    )


def _mark_placement(options: LoadOptions) -> tuple[str, ...]:
    """What of a placement changes which settings are fast; a layer more or less does not."""
    placement = options.placement
    if placement is None or placement.on_host:
        return ()
    coarse = (placement.layers // COARSE_LAYERS, placement.expert_layers // COARSE_LAYERS)
    return (*placement.devices, str(replace(placement, layers=coarse[0], expert_layers=coarse[1], shares=())))


def _version(engine: Engine) -> str:
    availability = engine.availability()
    return availability.version if isinstance(availability, Available) else "unknown"
