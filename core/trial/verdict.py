"""What is known of an engine and a model on this machine, and how a model is loaded by it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from core.contract.abilities import Batched, BatchSize, Tunable
from core.contract.artifact import Artifact
from core.contract.declared import list_fields
from core.contract.engine import Engine
from core.contract.options import DEFAULT_BATCH_TOKENS, LoadOptions
from core.errors import ArtifactError
from core.trial.cpu_load import BUSY_SHARE
from core.trial.tuning import SizeRate, apply_batch_size, choose_size

USUAL_DEPTH_TOKENS = 2048
"""Of the context that settings are compared for: that of a conversation, not of its first words."""
WORTH_IT_FACTOR = 1.05
"""More threads, or another setting than the first, must be faster by this factor."""
USUAL = "its usual settings"
SECRETS = tuple(each.name for each in list_fields(LoadOptions) if each.secret)
"""Options are kept with verdicts and told to child processes, where a key has no business."""
UNTOLD = (*SECRETS, "chat_template", "response_schema")
"""Options that child processes are not told: neither keys, nor what prompts and answers are read by, where a mistake is
the user's and must not be kept as the engine's."""
UNTRIED = ("ctx_size", "slots", "memory", "device_memory", "kv_room", "placement", *UNTOLD)
"""Options that do not change whether an engine survives a model, so that one verdict holds for all their values."""


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
    behind: float = 0.0
    """What `decode` is behind a prompt of the verdict's `depth`; zero where that was not measured."""


class Failure(Struct, frozen=True):
    """A setting that the child did not survive."""

    options: LoadOptions
    how: str
    """`crashed with SIGILL`, `hung for 120 s` ..."""


class ProbeVerdict(Struct, frozen=True):
    """What is known of an engine and a model on this machine; `chosen` are safe, and the fastest of those tried."""

    engine: str
    version: str
    model: str
    """The name it was tried under; what counts is the file's fingerprint."""
    machine: str
    options: LoadOptions
    """What decodes fastest, with the batch and micro-batch that were asked for."""
    rates: tuple[Rate, ...] = ()
    failures: tuple[Failure, ...] = ()
    sizes: tuple[SizeRate, ...] = ()
    """Of long prompts with `options`; none where there was no choice, or no time."""
    depth: int = 0
    """Tokens of the long prompt behind which settings were compared; zero where there was no time for one."""
    others: float = 0.0
    """Share of all processors that other programs took meanwhile, from 0 to 1."""

    @property
    def disturbed(self) -> str:
        """What a user should know of the circumstances; empty where they were as they should be."""
        if self.others <= BUSY_SHARE or not self.rates:
            return ""
        return (
            f"{self.engine} was measured while other programs took {self.others:.0%} of the processors; "
            "--rebench measures again"
        )

    @property
    def chosen(self) -> LoadOptions:
        """`options`, with another batch and micro-batch where one was found that is clearly faster."""
        size = choose_size(self.sizes, WORTH_IT_FACTOR)
        return self.options if size is None or size == self.sizes[0].size else apply_batch_size(self.options, size)

    @property
    def best(self) -> Rate | None:
        """With the settings taken; None where nothing was measured."""
        mine = [rate for rate in self.rates if rate.options == self.options]
        return next((rate for rate in mine if rate.threads == self.threads), None)

    @property
    def threads(self) -> int | None:
        """The best number for decoding; None where nothing was measured."""
        return choose_threads({rate.threads: rate.decode for rate in self.rates if rate.options == self.options})

    @property
    def batch_threads(self) -> int | None:
        """The best number for prefill and for steps of several sequences."""
        return choose_threads({rate.threads: rate.prefill for rate in self.rates if rate.options == self.options})

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know: which settings were given up, and why."""
        return tuple(
            f"The {self.engine} engine {failure.how} in a trial run with "
            f"{describe_settings(failure.options) or USUAL}; "
            f"it now runs with {describe_settings(self.chosen) or USUAL}."
            for failure in self.failures
            if describe_settings(failure.options) != describe_settings(self.chosen)
        )


def describe_settings(options: LoadOptions) -> str:
    """The part of the settings that safer or faster ones change, in words; none where they are the usual ones."""
    words = [] if options.repacks else ["plain buffers"]
    if options.flash_attention is not None:
        words.append(f"flash attention {'on' if options.flash_attention else 'off'}")
    if options.step_tokens != DEFAULT_BATCH_TOKENS:
        words.append(f"batch {options.step_tokens}")
    if options.pass_tokens != options.step_tokens:
        words.append(f"micro-batch {options.pass_tokens}")
    if options.mtp:
        words.append("heads that guess ahead")
    if options.threads is not None:
        words.append(f"{options.threads} thread{'s'[: options.threads != 1]}")
    return " and ".join(words)


def choose_threads(rates: Mapping[int, float]) -> int | None:
    """The fewest threads that no larger number beats clearly."""
    best: int | None = None
    for threads in sorted(rates):
        if best is None or rates[threads] > rates[best] * WORTH_IT_FACTOR:
            best = threads
    return best


def project_decode(rate: Rate, depth: int) -> float:
    """Tokens a second behind USUAL_DEPTH_TOKENS, where `behind` was measured behind `depth`: what a step takes grows
    with the tokens before it."""
    grown = max(0.0, 1 / rate.behind - 1 / rate.decode) / depth
    return 1 / (1 / rate.decode + grown * max(depth, USUAL_DEPTH_TOKENS))


def apply_fitting(engine: Engine, artifact: Artifact, verdict: ProbeVerdict, options: LoadOptions) -> LoadOptions:
    """As `apply_verdict`, without what takes too much memory with this context and these slots."""
    if not isinstance(engine, Tunable):
        return _without_large_batch(engine, artifact, verdict, options)
    try:
        return engine.adapt(artifact, _without_large_batch(engine, artifact, verdict, options), options)
    except ArtifactError:
        return apply_verdict(verdict, options)


def _without_large_batch(
    engine: Engine, artifact: Artifact, verdict: ProbeVerdict, options: LoadOptions
) -> LoadOptions:
    chosen = verdict.chosen
    if isinstance(engine, Batched) and chosen.step_tokens > DEFAULT_BATCH_TOKENS:
        try:
            sizes = engine.sizes(artifact, options)
        except ArtifactError:
            sizes = ()
        if BatchSize(chosen.step_tokens, chosen.pass_tokens) not in sizes:
            return apply_verdict(replace(verdict, sizes=()), options)
    return apply_verdict(verdict, options)


def apply_verdict(verdict: ProbeVerdict, options: LoadOptions) -> LoadOptions:
    """The options asked for, with what the verdict found best where they leave a choice."""
    return replace(
        verdict.options,
        **{name: getattr(options, name) for name in UNTRIED},
        batch=options.batch or verdict.chosen.batch,
        micro_batch=options.micro_batch or verdict.chosen.micro_batch,
        threads=options.threads or verdict.options.threads or verdict.threads,
        batch_threads=options.batch_threads or verdict.options.batch_threads or verdict.batch_threads,
    )
