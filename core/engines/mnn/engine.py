"""Loads folders of MNN's LLM exporter. Cheap to import: the library comes with `load`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Availability, Available, Unavailable
from core.contract.models import TokenModel
from core.contract.options import LoadOptions, LoadProgress, no_progress

MEND = "uv sync --extra mnn"


class MnnEngine:
    """MNN on the processor, which is what its package runs language models on everywhere."""

    name = "mnn"
    platform = "any"
    formats = ("mnn",)
    priority = 22

    def availability(self) -> Availability:
        if find_spec("MNN") is None:
            return Unavailable("The package MNN is not installed.", MEND)
        if find_spec("_mnncengine") is None:
            return Unavailable("The package MNN is installed without its native library.", MEND)
        try:
            return Available(version("MNN"))
        except PackageNotFoundError:
            return Available("unknown")

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """First full precision, without kernels that quantize activations; then one thread."""
        if options.repacks:
            return replace(options, extra_buffers=False)
        if options.threads != 1:
            return replace(options, threads=1, batch_threads=1)
        return None

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = no_progress) -> TokenModel:
        from core.engines.mnn.loading import load_model

        return load_model(artifact, options, progress)
