"""Loads ggml whisper files with whisper.cpp."""

from __future__ import annotations

import atexit
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Availability
from core.contract.models import ModelSpec
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.installed import Package, check_packages
from core.errors import ArtifactError, Cancelled, LoadFailed
from core.hardware import describe_machine
from core.models.formats.source import Damaged
from core.models.formats.whisper import WhisperHeader, walk_file
from core.requests import Sampling
from core.telemetry.model_log import tell_said

if TYPE_CHECKING:
    from core.engines.whisper.model import WhisperModel

PACKAGES: Final = (
    Package("_pywhispercpp", "pywhispercpp", "pip install pywhispercpp"),
    Package("av", "av", "pip install av", "The package av, which decodes audio, is not installed."),
)
WARNING_LEVEL: Final = 3
"""ggml's log levels: 1 debug, 2 info, 3 warning, 4 error, 5 continues the line before."""
LAST_WORDS: Final = "compute buffer (decode)"
"""What whisper.cpp logs at the end of a load that went well."""


class _WhisperLog:
    """Keeps what whisper.cpp says off the screen, and its last lines at hand."""

    def __init__(self) -> None:
        import _pywhispercpp as native

        self.lines: deque[tuple[int, str]] = deque(maxlen=100)
        native.whisper_log_set(self._keep)
        # The bindings hold the callback in a C++ global, which is destroyed when there is no interpreter any more.
        atexit.register(native.whisper_log_set, None)

    def _keep(self, level: int, text: str) -> None:
        if line := text.strip(" .\n"):
            self.lines.append((level, line))
            tell_said(line)

    def complaint(self) -> str:
        """The last thing that went wrong."""
        return next((line for level, line in reversed(self.lines) if level >= WARNING_LEVEL), "it did not say why")

    def succeeded(self) -> bool:
        """Whether the load went well, as far as the log tells: the bindings hide the null pointer of a failure.

        A complaint alone does not decide it, since a GPU that will not start is complained of, too.
        """
        failed = any("failed" in line or "ERROR" in line for level, line in self.lines if level >= WARNING_LEVEL)
        return not failed or any(LAST_WORDS in line for _, line in self.lines)


@cache
def _native_log() -> _WhisperLog:
    return _WhisperLog()


class WhisperEngine:
    """whisper.cpp as pywhispercpp ships it: the CPU everywhere, Metal on Macs."""

    name = "whisper"
    platform = "any"
    formats = ("ggml-whisper",)
    priority = 40

    def availability(self) -> Availability:
        return check_packages(*PACKAGES)

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> WhisperModel:
        header = _header(artifact)
        import _pywhispercpp as native

        from core.engines.whisper.model import WhisperModel

        if not progress(0.0):
            raise Cancelled
        parameters = native.whisper_context_default_params()
        if options.flash_attention is not None:
            parameters.flash_attn = options.flash_attention
        log = _native_log()
        log.lines.clear()
        context = native.whisper_init_from_file_with_params(str(artifact.path), parameters)
        if not log.succeeded():
            raise LoadFailed(artifact.name, f"whisper.cpp could not load {artifact.name}: {log.complaint()}.")
        model = WhisperModel(context, artifact.name, build_spec(header, options))
        if not progress(1.0):
            model.shutdown()
            raise Cancelled
        return model

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """Flash attention is whisper.cpp's default, and the one path with kernels of its own."""
        return None if options.flash_attention is False else replace(options, flash_attention=False)


def build_spec(header: WhisperHeader, options: LoadOptions) -> ModelSpec:
    """One transcription at a time: a whisper context holds the state of one."""
    notes = ("It hears one file at a time; others wait.",) if (options.slots or 1) > 1 else ()
    return ModelSpec(
        architecture="whisper" if header.multilingual else "whisper (English only)",
        parameters=header.parameters,
        quantization=header.quantization,
        context=header.n_text_ctx,
        trained_context=header.n_text_ctx,
        slots=1,
        sequences=1,
        cells=0,
        batch=header.n_audio_ctx,
        threads=options.threads or describe_machine().cores,
        weight_bytes=header.weight_bytes,
        kv_bytes_per_token=0,
        template=None,
        sampling=Sampling(temperature=0.0),
        notes=notes,
    )


def _header(artifact: Artifact) -> WhisperHeader:
    """Raises ArtifactError."""
    try:
        return walk_file(artifact.path)
    except Damaged as error:
        raise ArtifactError(
            artifact.name, f"The model {artifact.name} is damaged: {error}; download it again."
        ) from error
    except OSError as error:
        raise ArtifactError(artifact.name, f"The model {artifact.name} cannot be read: {error.strerror}.") from error
