"""The benchmark suite: engines side by side on one model or several, with settings swept, each in a child process."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from core.bench.results import BenchRow, BenchRun, Setting
from core.contract.abilities import Batched, BatchSize
from core.contract.engine import Available, Engine
from core.contract.options import KvType, LoadOptions
from core.errors import UsageError
from core.hardware import describe_machine
from core.models.formats.detect import mark_artifact
from core.trial.child import Copied, Line, Sampled, TrialRequest, VariantRefused, VariantTried
from core.trial.choose_engine import Candidate
from core.trial.parent import run_trial
from core.trial.tuning import apply_batch_size

SWEEPABLE = ("threads", "batch", "micro_batch", "kv", "depth")
NUMBERS = {"threads": (1, 1_000_000), "batch": (32, 16_384), "micro_batch": (32, 16_384), "depth": (0, 1_000_000)}
"""Least and most of those that are numbers; of batches as the settings have them."""


class SuitePlan(Struct, frozen=True):
    """How each case is measured, and which settings are swept."""

    rounds: int = 5
    prompt: int = 256
    decoded: int = 48
    seconds: float = 60.0
    """Of one case at most, loading apart."""
    threads: tuple[int, ...] = ()
    """None: what the trial run found, or the engine's own."""
    batches: tuple[int, ...] = ()
    """None: what the trial run found, or the usual one."""
    micro_batches: tuple[int, ...] = ()
    """None: what the trial run found, where no batches are named; else as large as the batch."""
    kv_types: tuple[KvType, ...] = (KvType.F16,)
    depths: tuple[int, ...] = (0,)


class CaseStarted(Struct, frozen=True, tag="started"):
    number: int
    """From one, of `total`."""
    total: int
    setting: Setting


class CaseSampled(Struct, frozen=True, tag="sampled"):
    """One round of the case under way."""

    setting: Setting
    prefill: float
    decode: float


class CaseDone(Struct, frozen=True, tag="done"):
    row: BenchRow


SuiteEvent = CaseStarted | CaseSampled | CaseDone
Listener = Callable[[SuiteEvent], None]


def parse_sweeps(words: Sequence[str], plan: SuitePlan) -> SuitePlan:
    """`threads=1,2`, `batch=128,512`, `micro_batch=64,256`, `kv=f16,q8_0`, `depth=0,1024`.

    Raises UsageError that names the word.
    """
    for word in words:
        name, separator, values = word.partition("=")
        if name not in SWEEPABLE or not separator:
            known = ", ".join(SWEEPABLE)
            raise UsageError(f"The sweep {word!r} is not understood; write NAME=VALUE,VALUE with one of {known}.")
        try:
            plan = _set_swept(plan, name, values.split(","))
        except ValueError as error:
            raise UsageError(f"The sweep {word!r} has a value that cannot be used: {error}.") from error
    return plan


def _set_swept(plan: SuitePlan, name: str, values: Sequence[str]) -> SuitePlan:
    if name == "kv":
        known = {kind.value: kind for kind in KvType}
        for value in values:
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}")
        return replace(plan, kv_types=tuple(known[value] for value in values))
    least, most = NUMBERS[name]
    for value in values:
        if not value.strip().isdecimal():
            raise ValueError(f"{value!r} is not a whole number")
    numbers = tuple(int(value) for value in values)
    if wrong := [number for number in numbers if not least <= number <= most]:
        size = "small" if wrong[0] < least else "large"
        raise ValueError(f"{wrong[0]} is too {size}; it may be {least:,} to {most:,}")
    fields = {"threads": "threads", "batch": "batches", "micro_batch": "micro_batches", "depth": "depths"}
    changes: Mapping[str, object] = {fields[name]: numbers}
    return replace(plan, **changes)


def run_suite(
    candidates: Sequence[tuple[Candidate, LoadOptions]],
    plan: SuitePlan,
    timeout: float,
    stop: threading.Event,
    tell: Listener,
) -> BenchRun:
    """Measure every candidate with every setting, one after another. Blocks. Raises Cancelled on `stop`.

    The options beside a candidate are those its trial run found best; a child that dies or hangs is a row with a
    problem, and the next one is measured.
    """
    cases = [case for candidate, options in candidates for case in _cases(candidate, options, plan)]
    rows = []
    for number, (candidate, options, setting) in enumerate(cases, 1):
        tell(CaseStarted(number, len(cases), setting))
        row = _measure(candidate, options, setting, plan, timeout, stop, tell)
        rows.append(row)
        tell(CaseDone(row))
    here = describe_machine()
    return BenchRun(time.time(), here.fingerprint, here.processor, tuple(rows))


def _cases(
    candidate: Candidate, options: LoadOptions, plan: SuitePlan
) -> Iterator[tuple[Candidate, LoadOptions, Setting]]:
    availability = candidate.engine.availability()
    version = availability.version if isinstance(availability, Available) else "unknown"
    counts = plan.threads or (options.threads or describe_machine().cores,)
    sizes = _sizes(candidate.engine, options, plan)
    files = mark_artifact(candidate.artifact)
    for threads, size, kv, depth in itertools.product(counts, sizes, plan.kv_types, plan.depths):
        batch_threads = threads if plan.threads else options.batch_threads
        chosen = apply_batch_size(replace(options, threads=threads, batch_threads=batch_threads, kv_type=kv), size)
        yield (
            candidate,
            chosen,
            Setting(
                model=candidate.artifact.name,
                fingerprint=files,
                engine=candidate.engine.name,
                version=version,
                format=candidate.artifact.format,
                threads=threads,
                batch=size.batch,
                micro_batch=size.micro_batch if size.micro_batch < size.batch else None,
                kv_type=kv,
                depth=depth,
                prompt=plan.prompt,
                decoded=plan.decoded,
                extra_buffers=options.repacks,
                flash_attention=options.flash_attention,
                divides=isinstance(candidate.engine, Batched),
            ),
        )


def _sizes(engine: Engine, options: LoadOptions, plan: SuitePlan) -> list[BatchSize]:
    """Every batch with every micro-batch, each pair once; of engines that do not divide their steps, every batch."""
    found = options.micro_batch if not plan.batches else None
    batches = plan.batches or (options.step_tokens,)
    micro_batches = (plan.micro_batches or (found,)) if isinstance(engine, Batched) else (None,)
    pairs = itertools.product(batches, micro_batches)
    return list(dict.fromkeys(BatchSize(batch, min(batch, micro or batch)) for batch, micro in pairs))


def _measure(
    candidate: Candidate,
    options: LoadOptions,
    setting: Setting,
    plan: SuitePlan,
    timeout: float,
    stop: threading.Event,
    tell: Listener,
) -> BenchRow:
    request = TrialRequest(
        engine=candidate.location,
        artifact=candidate.artifact,
        variants=(options,),
        threads=(),
        rounds=plan.rounds,
        seconds=plan.seconds,
        prompt=plan.prompt,
        decoded=plan.decoded,
        depth=setting.depth,
        copied=2 * plan.decoded,
        rehearsed=False,
    )

    def pass_on(line: Line) -> None:
        if isinstance(line, Sampled):
            tell(CaseSampled(setting, line.prefill, line.decode))

    outcome = run_trial(request, timeout, stop, pass_on)
    refusals = [line.reason for line in outcome.lines if isinstance(line, VariantRefused)]
    samples = [line for line in outcome.lines if isinstance(line, Sampled)]
    memory = max((line.memory for line in outcome.lines if isinstance(line, VariantTried)), default=0)
    if outcome.trouble is not None or refusals or not samples:
        return BenchRow(setting, problem=outcome.trouble or next(iter(refusals), "nothing was measured"))
    decode = [sample.decode for sample in samples]
    copied = next((line.copy_rate for line in outcome.lines if isinstance(line, Copied)), None)
    middle = median(decode)
    return BenchRow(
        setting,
        prefill=median(sample.prefill for sample in samples),
        decode=middle,
        spread=(max(decode) - min(decode)) / middle if middle else 0.0,
        first_token=median(sample.first_token for sample in samples),
        memory=memory,
        rounds=len(samples),
        copying=copied.rate if copied is not None else 0.0,
        acceptance=copied.acceptance if copied is not None else (),
    )
