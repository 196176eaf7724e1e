"""Batch and micro-batch: which sizes there is time to measure, and what prefill made of them.

A step as large as the batch never holds up other requests: while anything decodes, `core.serving.loops.plan` gives
prefill what fits between two tokens, however much a step may hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from core.contract.abilities import BatchSize
from core.contract.artifact import Artifact
from core.contract.options import LoadOptions
from core.trial.child import Line, Sampled, TrialRequest

SIZE_TURNS = 2
"""Times that every size is loaded, one after another, so that a disturbance hits all alike."""
PROMPT_ROUNDS = (2, 1)
"""Prompts computed each time it is loaded: where there is time for two, the first touches the memory."""
MARGIN_FACTOR = 1.25
"""Longer prompts may be slower than the short one by which the time is judged."""


class SizeRate(Struct, frozen=True):
    """Tokens of a prompt a second with one size, the best of its rounds: a disturbance only ever slows."""

    size: BatchSize
    prefill: float


class Pace(Struct, frozen=True):
    """What a first trial run told of an engine with a model."""

    start: float
    """Seconds until the child was ready to load."""
    load: float
    """Seconds of loading."""
    prefill: float
    """Tokens a second."""


class TuningPlan(Struct, frozen=True):
    """What there is time for."""

    sizes: tuple[BatchSize, ...]
    rounds: int
    prompt: int
    """Tokens."""


def apply_batch_size(options: LoadOptions, size: BatchSize) -> LoadOptions:
    return replace(options, batch=size.batch, micro_batch=size.micro_batch)


def plan_tuning(sizes: Sequence[BatchSize], pace: Pace, left: float) -> TuningPlan | None:
    """As many of the sizes as can be measured in `left` seconds, the last ones left out first; None for fewer than two.

    The prompt is as long as the largest batch among them, for what a size is good for shows only where it is filled.
    """
    for count in range(len(sizes), 1, -1):
        chosen = tuple(sizes[:count])
        prompt = max(size.batch for size in chosen)
        for rounds in PROMPT_ROUNDS:
            once = pace.load + rounds * prompt / max(pace.prefill, 1e-9)
            if pace.start + MARGIN_FACTOR * SIZE_TURNS * count * once <= left:
                return TuningPlan(chosen, rounds, prompt)
    return None


def build_tuning_request(
    engine: str, artifact: Artifact, options: LoadOptions, threads: int, plan: TuningPlan, left: float
) -> TrialRequest:
    """For a child that computes prompts alone. Its variant number v is the size v % len(plan.sizes)."""
    return TrialRequest(
        engine,
        artifact,
        variants=tuple(apply_batch_size(options, size) for size in plan.sizes) * SIZE_TURNS,
        threads=(threads,),
        rounds=plan.rounds,
        seconds=left,
        prompt=plan.prompt,
        decoded=0,
        weighed=False,
        rehearsed=False,
    )


def collect_size_rates(plan: TuningPlan, lines: Sequence[Line]) -> tuple[SizeRate, ...]:
    """Of the sizes that were measured, in the plan's order; none where the first was not, for then nothing is known to
    be better than it. A child whose time was up has measured the later ones less often, to their disadvantage."""
    best: dict[int, float] = {}
    for line in lines:
        if isinstance(line, Sampled):
            index = line.variant % len(plan.sizes)
            best[index] = max(best.get(index, 0.0), line.prefill)
    return tuple(SizeRate(plan.sizes[index], best[index]) for index in sorted(best)) if 0 in best else ()


def choose_size(rates: Sequence[SizeRate], worth_it: float) -> BatchSize | None:
    """The first, unless another is faster by the factor `worth_it`; None where nothing was measured."""
    best: SizeRate | None = None
    for rate in rates:
        if best is None or rate.prefill > best.prefill * worth_it:
            best = rate
    return best.size if best is not None else None
