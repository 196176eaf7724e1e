"""Loads folders of safetensors with MLX. Cheap to import: MLX comes with `load`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from core.contract.artifact import Artifact
from core.contract.engine import Availability
from core.contract.models import TokenModel
from core.contract.options import LoadOptions, LoadProgress, ignore_progress
from core.engines.installed import Package, check_packages
from core.hardware import describe_machine
from core.sizes import format_size

MEND = "uv sync --extra mlx"
PACKAGES = (
    Package("mlx", "mlx", MEND),
    # On Linux `mlx` without a back end installs, and then cannot be imported.
    Package("mlx.core", "mlx", MEND, "The package mlx is installed without a back end for this machine."),
    Package("mlx_lm", "mlx-lm", MEND),
)


class MlxEngine:
    """MLX on the GPU of an Apple machine; on Linux on the CPU, with `mlx[cpu]`, or on CUDA, with `mlx[cuda]`."""

    name = "mlx"
    platform = "darwin-arm64"
    formats = ("mlx",)
    state_format = "BTX1"

    @property
    def priority(self) -> int:
        """The first where it has the GPU it was made for, the last of those that run here elsewhere: on processors it
        is many times slower than the others."""
        return choose_priority(apple=describe_machine().apple_silicon)

    def availability(self) -> Availability:
        return check_packages(*PACKAGES)

    def list_devices(self) -> Sequence[str]:
        """Metal or CUDA with the memory that it may take, else the processor."""
        with _file_limit():
            import mlx.core as mx
        if not mx.metal.is_available():
            return ["CPU"] if mx.default_device() == mx.cpu else ["CUDA"]
        told = mx.device_info()
        return [f"Metal: {told['device_name']}, {format_size(int(told['max_recommended_working_set_size']))}"]

    def safer(self, options: LoadOptions) -> LoadOptions | None:
        """MLX has no setting that would spare it a crash."""
        return None

    def load(self, artifact: Artifact, options: LoadOptions, progress: LoadProgress = ignore_progress) -> TokenModel:
        """The model belongs to the thread that loads it: MLX's streams do."""
        with _file_limit():
            from core.engines.mlx.loading import load_model
        return load_model(artifact, options, progress)


def choose_priority(*, apple: bool) -> int:
    """A priority: the lower goes first."""
    return 10 if apple else 45


@contextmanager
def _file_limit() -> Iterator[None]:
    """Undo what importing mlx-lm does to the number of files this process may open, as far as the system lets us."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        yield
    finally:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        except (OSError, ValueError):
            _, left = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, left), left))
