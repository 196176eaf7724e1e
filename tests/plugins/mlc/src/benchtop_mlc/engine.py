"""Loads folders of MLC weights with mlc-llm. Written and tested against its documented interface, never run on it."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.engine import Availability
from core.contract.models import ModelSpec, StreamModel
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.installed import Package, check_packages
from core.errors import ArtifactError, Cancelled, LoadFailed
from core.requests import Sampling
from core.text_files import drop_mark

CONFIG: Final = "mlc-chat-config.json"
BUILDS: Final = ("mlc-llm-cpu", "mlc-llm-nightly-cpu", "mlc-llm-nightly", "mlc-ai-nightly-cpu")
"""Names that builds of the same module are installed under; those for a GPU add its kind and are not all known."""
MEND: Final = "follow the instructions of mlc-llm's documentation for its Python package; each kind of GPU has a build"
PACKAGES: Final = (Package("mlc_llm", "mlc-llm", MEND, builds=BUILDS), Package("tvm", "tvm", MEND))
FAULTS: Final = (RuntimeError, ValueError, OSError, AssertionError, ImportError)
"""What mlc-llm and the tvm below it raise for a model that cannot be compiled or loaded."""


class ChatConfig(Struct, frozen=True):
    """What of an mlc-chat-config.json matters here (mlc_llm/protocol/mlc_chat_config.py); the rest is mlc-llm's."""

    model_type: str
    quantization: str
    context_window_size: int
    """-1 where a sliding window takes its place."""
    sliding_window_size: int = -1
    prefill_chunk_size: int = 0
    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None

    @property
    def context(self) -> int:
        return next((size for size in (self.context_window_size, self.sliding_window_size) if size > 0), 0)

    @property
    def sampling(self) -> Sampling:
        """What is drawn with where a client says nothing; mlc-llm's own defaults are neutral, and it has no top-k."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=0,
            top_p=1.0 if self.top_p is None else self.top_p,
            min_p=0.0,
            repeat_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
        )


class MlcEngine:
    """mlc-llm on whatever GPU its build knows."""

    name = "mlc-llm"
    platform = "any"
    formats = ("mlc",)
    priority = 28

    def availability(self) -> Availability:
        return check_packages(*PACKAGES)

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """mlc-llm has no setting that would spare it a crash."""
        return None

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> StreamModel:
        config = read_config(artifact)
        spec = describe(artifact, config, options)
        if not progress(0.1):
            raise Cancelled(f"Loading {artifact.name} was stopped.")
        try:
            from mlc_llm import MLCEngine
            from mlc_llm.serve.config import EngineConfig

            from benchtop_mlc.model import MlcModel

            settings = EngineConfig(verbose=False, max_single_sequence_length=spec.context)
            engine = MLCEngine(str(artifact.path), mode="interactive", engine_config=settings)
        except FAULTS as error:
            words = (str(error).strip() or type(error).__name__).splitlines()[-1].rstrip(".")
            raise LoadFailed(artifact.name, f"mlc-llm cannot load {artifact.name}: {words}.") from error
        model = MlcModel(engine, spec)
        if not progress(1.0):
            model.shutdown()
            raise Cancelled(f"Loading {artifact.name} was stopped.")
        return model


def read_config(artifact: Artifact) -> ChatConfig:
    """Raises ArtifactError for a folder whose configuration is missing or damaged."""
    path = artifact.path / CONFIG
    try:
        config = msgspec.json.decode(drop_mark(path.read_bytes()), type=ChatConfig)
    except OSError as error:
        raise ArtifactError(artifact.name, f"{artifact.name} has no readable {CONFIG}: {error.strerror}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ArtifactError(
            artifact.name, f"The {CONFIG} of {artifact.name} is damaged: {error}; download it again."
        ) from error
    if not config.context:
        raise ArtifactError(artifact.name, f"The {CONFIG} of {artifact.name} tells no context_window_size.")
    return config


def describe(artifact: Artifact, config: ChatConfig, options: LoadOptions) -> ModelSpec:
    context = min(options.ctx_size or config.context, config.context)
    notes = ["mlc-llm runs one request at a time here; others wait."]
    if options.ctx_size is not None and options.ctx_size > config.context:
        notes.append(f"The context is {config.context} tokens, not {options.ctx_size}: the model was compiled so.")
    return ModelSpec(
        architecture=config.model_type,
        parameters=0,
        quantization=config.quantization,
        context=context,
        trained_context=config.context,
        slots=1,
        sequences=1,
        cells=context,
        batch=max(0, config.prefill_chunk_size),
        threads=0,
        weight_bytes=artifact.size,
        kv_bytes_per_token=0,
        template=None,
        sampling=config.sampling,
        notes=tuple(notes),
    )
