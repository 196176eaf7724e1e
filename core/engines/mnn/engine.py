"""Loads folders of MNN's LLM exporter. Cheap to import: the library comes with `load`."""

from __future__ import annotations

from msgspec.structs import replace

from core.contract.artifact import Artifact
from core.contract.engine import Availability
from core.contract.models import TokenModel
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.installed import Package, check_packages

MEND = "uv sync --extra mnn"
PACKAGES = (
    Package("MNN", "MNN", MEND),
    Package("_mnncengine", "MNN", MEND, "The package MNN is installed without its native library."),
)


class MnnEngine:
    """MNN on the processor, which is what its package runs language models on everywhere."""

    name = "mnn"
    platform = "any"
    formats = ("mnn",)
    priority = 22

    def availability(self) -> Availability:
        return check_packages(*PACKAGES)

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """First full precision, without kernels that quantize activations; then one thread."""
        if options.repacks:
            return replace(options, extra_buffers=False)
        if options.threads != 1:
            return replace(options, threads=1, batch_threads=1)
        return None

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> TokenModel:
        from core.engines.mnn.loading import load_model

        return load_model(artifact, options, progress)
