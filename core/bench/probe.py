"""Crash-safe start: before an engine first runs a model on this machine, a child process does.

Native code that faults takes its process with it. So the child loads the model and decodes a few tokens; when it
dies or hangs, the engine's next safer setting is tried, and what was found is kept for that engine version, model and
machine. On the way the child times decoding with different numbers of threads beside a busy interpreter, which is
what serving is like: with few cores, one thread can be faster than two that wait for each other.

Run as a program it is that child: a request as JSON on standard input, a line of JSON on standard output.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.engines.base import (
    Artifact,
    Available,
    Engine,
    LoadOptions,
    Native,
    SequenceId,
    StreamModel,
    Threaded,
    TokenModel,
    Work,
)
from core.errors import BenchtopError, Cancelled, EngineFailed
from core.events import Failed
from core.files import write_atomically
from core.hardware import machine
from core.models.formats import fingerprint
from core.requests import Generation, RawText, Sampling
from core.telemetry.log import get_logger

PROMPT = 48
DECODED = 12
WARM_UP = 2
ROUNDS = 3
CONTEXT = 256
BUSY, IDLE = 0.002, 0.006
"""Seconds the stand-in for the event loop computes and sleeps, over and over."""
WORTH_IT = 1.05
"""More threads must be faster by this factor: they cost the rest of the machine something."""
RESULT_MARK = b"probe-result:"
log = get_logger(__name__)


class ProbeRequest(Struct, frozen=True):
    """What the child is to try. `engine` is `module:Class`."""

    engine: str
    artifact: Artifact
    options: LoadOptions
    threads: tuple[int, ...]


class ThreadRate(Struct, frozen=True):
    """Tokens a second of one sequence with so many threads, medians of the rounds."""

    threads: int
    decode: float
    prefill: float


class ProbeResult(Struct, frozen=True):
    """What the child found. `refusal` is the sentence of an engine that declined in good order."""

    rates: tuple[ThreadRate, ...] = ()
    refusal: str | None = None


class Failure(Struct, frozen=True):
    """A setting that the child did not survive."""

    options: LoadOptions
    how: str
    """`crashed with SIGILL`, `hung for 120 s` ..."""


class Verdict(Struct, frozen=True):
    """What is known of an engine and a model on this machine; `options` are safe."""

    engine: str
    version: str
    model: str
    """The name it was tried under; what counts is the file's fingerprint."""
    machine: str
    options: LoadOptions
    rates: tuple[ThreadRate, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def threads(self) -> int | None:
        """The best number for decoding; None where nothing was measured."""
        return best_threads({rate.threads: rate.decode for rate in self.rates})

    @property
    def batch_threads(self) -> int | None:
        """The best number for prefill and for steps of several sequences."""
        return best_threads({rate.threads: rate.prefill for rate in self.rates})

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know: which settings were given up, and why."""
        return tuple(
            f"The {self.engine} engine {failure.how} in a trial run with {describe(failure.options)}; "
            f"it now runs with {describe(self.options)}."
            for failure in self.failures
        )


def describe(options: LoadOptions) -> str:
    """The part of the settings that safer ones change, in words."""
    buffers = "extra buffer types" if options.extra_buffers else "plain buffers"
    return buffers + (f" and {options.threads} thread{'s'[: options.threads != 1]}" if options.threads else "")


def best_threads(rates: Mapping[int, float]) -> int | None:
    """The fewest threads that no larger number beats clearly."""
    best: int | None = None
    for threads in sorted(rates):
        if best is None or rates[threads] > rates[best] * WORTH_IT:
            best = threads
    return best


class Prober:
    """Finds verdicts and keeps them, one file each. `probe` blocks: call it on a worker thread."""

    def __init__(self, folder: Path, timeout: float) -> None:
        self._folder = folder
        self._timeout = timeout

    def probe(
        self, engine: Engine, location: str, artifact: Artifact, options: LoadOptions, stop: threading.Event
    ) -> Verdict:
        """The kept verdict, or a new one. Raises EngineFailed when no setting survives, Cancelled on `stop`."""
        availability = engine.availability()
        version = availability.version if isinstance(availability, Available) else "unknown"
        path = self._path(engine, version, artifact, options)
        kept = _read(path)
        if kept is not None:
            return kept
        verdict = self._find(engine, version, location, artifact, options, stop)
        write_atomically(path, msgspec.json.encode(verdict))
        return verdict

    def verdicts(self) -> list[Verdict]:
        """All that are kept, for `tui doctor`."""
        return [verdict for path in sorted(self._folder.glob("*.json")) if (verdict := _read(path)) is not None]

    def _path(self, engine: Engine, version: str, artifact: Artifact, options: LoadOptions) -> Path:
        key = (engine.name, version, machine().fingerprint, fingerprint(artifact.path), options.kv_type.value)
        asked = (str(options.extra_buffers), str(options.threads))
        digest = hashlib.sha256("\n".join((*key, *asked)).encode()).hexdigest()[:24]
        return self._folder / f"{engine.name}-{digest}.json"

    def _find(
        self,
        engine: Engine,
        version: str,
        location: str,
        artifact: Artifact,
        asked: LoadOptions,
        stop: threading.Event,
    ) -> Verdict:
        options: LoadOptions | None = asked
        failures: list[Failure] = []
        verdict = partial(Verdict, engine.name, version, artifact.name, machine().fingerprint)
        while options is not None:
            request = ProbeRequest(location, artifact, _small(options), thread_counts(options))
            outcome = _run_child(request, self._timeout, stop)
            if isinstance(outcome, ProbeResult):
                if outcome.refusal is not None:
                    # A refusal is not about this machine; loading in earnest will say the same, in its own words.
                    return verdict(options, (), tuple(failures))
                return verdict(options, outcome.rates, tuple(failures))
            log.warning("engine failed its trial run", engine=engine.name, model=artifact.name, how=outcome)
            failures.append(Failure(options, outcome))
            options = engine.safer(options) if isinstance(engine, Native) else None
        raise EngineFailed(
            f"The {engine.name} engine cannot run {artifact.name} on this machine: "
            f"in a trial run it {failures[-1].how} even with its safest settings."
        )


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


def _small(options: LoadOptions) -> LoadOptions:
    return replace(options, context=CONTEXT, slots=1)


def _read(path: Path) -> Verdict | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Verdict)
    except (OSError, msgspec.MsgspecError):
        return None


def _run_child(request: ProbeRequest, timeout: float, stop: threading.Event) -> ProbeResult | str:
    """The child's result, or how it ended instead. The child never outlives this call."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "core.bench.probe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            deadline = time.monotonic() + timeout
            given: bytes | None = msgspec.json.encode(request, enc_hook=str)
            while True:
                if stop.is_set():
                    raise Cancelled("Loading was stopped.")
                try:
                    output, _ = child.communicate(given, timeout=0.1)
                    break
                except subprocess.TimeoutExpired:
                    given = None
                    if time.monotonic() > deadline:
                        return f"hung for {timeout:.0f} s"
        finally:
            child.kill()
    return _read_output(output, child.returncode)


def _read_output(output: bytes, code: int) -> ProbeResult | str:
    if code < 0:
        return f"crashed with {signal.Signals(-code).name}"
    for line in output.splitlines():
        if line.startswith(RESULT_MARK):
            try:
                return msgspec.json.decode(line[len(RESULT_MARK) :], type=ProbeResult)
            except msgspec.MsgspecError:
                return "answered with garbage"
    return f"ended with exit code {code} and no result"


def child() -> None:
    """The trial itself."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=ProbeRequest, dec_hook=_read_path)
    # What native libraries print must not be taken for the result.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    from importlib import import_module

    module, _, attribute = request.engine.partition(":")
    engine: Engine = getattr(import_module(module), attribute)()
    try:
        model = engine.load(request.artifact, request.options)
        if isinstance(model, StreamModel):
            result = ProbeResult()
            _generate(model)
        else:
            result = ProbeResult(rates=measure_threads(model, request.threads))
        model.shutdown()
    except BenchtopError as error:
        result = ProbeResult(refusal=str(error))
    out.write(RESULT_MARK + msgspec.json.encode(result) + b"\n")
    out.flush()


def _generate(model: StreamModel) -> None:
    """A few tokens from a model that schedules itself."""
    request = Generation("probe", RawText("1 2 3"), Sampling(temperature=0.0), max_tokens=DECODED)
    for event in model.generate(request, threading.Event()):
        if isinstance(event, Failed):
            raise event.error


def _read_path(_: type, value: object) -> Path:
    return Path(str(value))


def measure_threads(model: TokenModel, counts: tuple[int, ...]) -> tuple[ThreadRate, ...]:
    """Decode rates with each number of threads; of models that cannot change theirs, a single rate."""
    over = threading.Event()
    bystander = threading.Thread(target=_event_loop_stand_in, args=(over,), daemon=True)
    bystander.start()
    decode: dict[int, list[float]] = {}
    prefill: dict[int, list[float]] = {}
    try:
        counts = counts if isinstance(model, Threaded) else (model.spec.threads,)
        for _ in range(ROUNDS):
            for count in counts:
                if isinstance(model, Threaded):
                    model.set_threads(count, count)
                prefilled, decoded = _rates(model)
                prefill.setdefault(count, []).append(prefilled)
                decode.setdefault(count, []).append(decoded)
    finally:
        over.set()
        bystander.join()
    return tuple(ThreadRate(count, median(decode[count]), median(prefill[count])) for count in counts)


def _rates(model: TokenModel) -> tuple[float, float]:
    """Prefill and decode tokens a second."""
    sequence = model.open(Sampling(temperature=0.0))
    began = time.perf_counter()
    token = _step(model, sequence, [index % model.tokenizer.size for index in range(1, PROMPT + 1)])
    prefilled = time.perf_counter() - began
    for _ in range(WARM_UP):
        token = _step(model, sequence, [token])
    began = time.perf_counter()
    for _ in range(DECODED):
        token = _step(model, sequence, [token])
    decoded = time.perf_counter() - began
    model.close(sequence)
    return PROMPT / max(prefilled, 1e-9), DECODED / max(decoded, 1e-9)


def _step(model: TokenModel, sequence: SequenceId, tokens: list[int]) -> int:
    (step,) = model.step([Work(sequence, tokens, sample=True)])
    return step.tokens[0]


def _event_loop_stand_in(over: threading.Event) -> None:
    while not over.wait(IDLE):
        end = time.perf_counter() + BUSY
        while time.perf_counter() < end:
            pass


if __name__ == "__main__":
    child()
