"""Engines on the bench: which run here, what trial runs found, how fast they are with a model."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from msgspec.structs import replace

from core.bench.quality import NamedSubject, QualityRow, measure_quality
from core.bench.quality_child import QualitySubject
from core.bench.results import BenchRun, Change, History
from core.bench.runner import BenchSample, Plan, Submit, run_plan
from core.bench.suite import SuiteEvent, SuitePlan, run_suite
from core.bench.tool_health import ToolVerdict, check_tools
from core.contract.options import KvType
from core.engines.registry import EngineReport, Engines
from core.errors import RequestError
from core.models.formats.registry import load_formats
from core.plugins import Plugin, PluginBroken
from core.serving.pool.loader import ModelLoader
from core.serving.served_models import ServedModels
from core.trial.probe import Prober
from core.trial.verdict import ProbeVerdict


class EngineBench:
    """Of one workbench."""

    def __init__(
        self,
        engines: Engines,
        prober: Prober,
        loader: ModelLoader,
        models: ServedModels,
        submit: Submit,
        history: History,
        *,
        timeout: float,
    ) -> None:
        """`timeout`: seconds after which a child process that says nothing counts as hanging."""
        self._engines = engines
        self._prober = prober
        self._loader = loader
        self._models = models
        self._submit = submit
        self._history = history
        self._timeout = timeout

    def measure(
        self, model: str, *, prompt_tokens: int = 256, new_tokens: int = 64, rounds: int = 3, streams: int = 1
    ) -> AsyncGenerator[BenchSample, None]:
        """Measure a loaded model as it serves.

        Raises ModelNotFound, ModelNotReady, and RequestError for more tokens than the context holds.
        """
        host = self._models.host(model)
        if prompt_tokens + new_tokens > host.spec.context:
            raise RequestError(
                f"{prompt_tokens} prompt tokens and {new_tokens} new ones do not fit the context of "
                f"{host.spec.context}; measure with fewer, or load the model with a larger --ctx-size."
            )
        plan = Plan(prompt_tokens, new_tokens, rounds, streams)
        return run_plan(model, plan, host.vocabulary, self._submit)

    def check_tools(self, model: str) -> AsyncGenerator[ToolVerdict, None]:
        """How well a loaded model calls tools: one verdict after another. Raises ModelNotFound, ModelNotReady."""
        traits = self._models.host(model).traits
        return check_tools(model, self._submit, bounded=traits.stepwise)

    def run_suite(
        self, names: Sequence[str], plan: SuitePlan, stop: threading.Event, tell: Callable[[SuiteEvent], None]
    ) -> BenchRun:
        """Measure every engine that runs each of the models here, and keep what was found. Blocks for minutes.

        Raises ModelNotFound, ArtifactError, EngineUnavailable; EngineFailed when no engine runs a model; Cancelled.
        """
        candidates = [each for name in names for each in self._loader.settled(self._models.artifact(name), stop)]
        run = run_suite(candidates, plan, self._timeout, stop, tell)
        self._history.add(run)
        return run

    def measure_quality(
        self,
        names: Sequence[str],
        kv_types: Sequence[KvType],
        text: str,
        chunks: int,
        stop: threading.Event,
        tell: Callable[[QualityRow], None],
    ) -> list[QualityRow]:
        """How well each of the models tells a text, with each type of KV cache, beside the best of them: that of most
        bytes, with the largest type. Keeps nothing. Blocks for minutes.

        Raises ModelNotFound, ArtifactError, EngineUnavailable; EngineFailed when no engine runs a model; Cancelled.
        """
        artifacts = sorted((self._models.artifact(name) for name in names), key=lambda each: -each.size)
        types = sorted(kv_types, key=lambda each: -each.count_bytes(32, 32))
        subjects = []
        for artifact in artifacts:
            candidate, options = self._loader.settled(artifact, stop)[0]
            for kv_type in types:
                # llama.cpp has quantized values with flash attention alone, which a trial run may have switched off.
                flash = None if kv_type.quantized else options.flash_attention
                chosen = replace(options, kv_type=kv_type, flash_attention=flash)
                loaded = QualitySubject(candidate.location, candidate.artifact, chosen)
                subjects.append(NamedSubject(artifact.name, kv_type.value, loaded))
        return measure_quality(subjects, text, chunks, self._timeout, stop, tell)

    def compare(self, run: BenchRun) -> list[Change]:
        """Each row of a run beside its predecessor. Touches the disk."""
        return self._history.compare(run)

    def trace(self, run: BenchRun) -> list[tuple[float, ...]]:
        """The decode rates of each row's setting over all runs, oldest first. Touches the disk."""
        return self._history.trace(run)

    def engines(self) -> tuple[EngineReport, ...]:
        return self._engines.reports()

    def list_engine_devices(self) -> Mapping[str, tuple[str, ...]]:
        """What the engines compute on, by their names. Imports their libraries, which may take some seconds."""
        return self._engines.list_devices()

    def plugins(self) -> tuple[Plugin, ...]:
        """Those whose engines and formats are in use."""
        return (*self._engines.plugins, *load_formats().plugins)

    def find_broken_plugins(self) -> tuple[PluginBroken, ...]:
        """Each is tried now, if it was not before."""
        return (*self._engines.find_broken(), *load_formats().find_broken())

    def verdicts(self) -> list[ProbeVerdict]:
        """What trial runs have found on this machine. Touches the disk."""
        return self._prober.verdicts()
