"""Loading folders: what is told, what is refused, what stays as it was."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.contract.models import Trims
from core.contract.options import KvType
from core.engines.mlx.engine import MlxEngine
from core.errors import ArtifactError, Cancelled, LoadFailed
from tests.core.engines.mlx.conftest import OPTIONS, Load, artifact, refusal


def test_availability_imports_neither_mlx_nor_transformers() -> None:
    script = (
        "import sys\nfrom core.engines.mlx.engine import MlxEngine\nprint(MlxEngine().availability())\n"
        "assert not {'mlx', 'mlx_lm', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_mlx_lm_leaves_the_limit_of_open_files_as_it_was(guide: Path) -> None:
    script = (
        "import resource, sys\nfrom pathlib import Path\n"
        "before = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "from core.engines.mlx.engine import MlxEngine\n"
        "from tests.core.engines.mlx.conftest import OPTIONS, artifact\n"
        "MlxEngine().load(artifact(Path(sys.argv[1])), OPTIONS).shutdown()\n"
        "now = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "assert now[0] == min(before[0], now[1]), (before, now)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(guide)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_spec_tells_what_the_folder_holds(load: Load, guide: Path) -> None:
    model = load(guide)
    spec = model.spec
    assert isinstance(model, Trims)
    assert (spec.architecture, spec.quantization) == ("llama", "F16")
    assert (spec.context, spec.slots, spec.eos) == (512, 4, "<|im_end|>")
    assert spec.template is not None
    assert spec.parameters * 2 <= spec.weight_bytes <= spec.parameters * 4
    assert spec.kv_bytes_per_token > 0


def test_progress_goes_from_nought_to_one_and_may_stop_the_loading(load: Load, guide: Path) -> None:
    shares: list[float] = []

    def note(share: float) -> bool:
        shares.append(share)
        return True

    load(guide, progress=note)
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    with pytest.raises(Cancelled):
        load(guide, progress=lambda share: share < 0.5)


def test_an_unknown_architecture_is_one_clear_sentence(variant: Callable[..., Path]) -> None:
    error = refusal(variant(model_type="transmogrifier"))
    assert isinstance(error, LoadFailed)
    assert str(error) == (
        "mlx-lm does not run guide (model type transmogrifier): Model type transmogrifier not supported."
    )


def test_weights_that_do_not_belong_to_the_configuration_are_refused(variant: Callable[..., Path]) -> None:
    assert isinstance(refusal(variant(num_hidden_layers=9)), LoadFailed)


def test_damaged_weights_are_an_artifact_error(variant: Callable[..., Path]) -> None:
    folder = variant()
    file = folder / "model.safetensors"
    file.write_bytes(b"nonsense" * 9)
    assert isinstance(refusal(folder), ArtifactError)
    file.unlink()
    assert "safetensors" in str(refusal(folder))


def test_truncated_weights_are_refused(variant: Callable[..., Path]) -> None:
    folder = variant()
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])
    assert isinstance(refusal(folder), ArtifactError | LoadFailed)


def test_a_program_that_comes_with_the_weights_is_never_run(variant: Callable[..., Path]) -> None:
    folder = variant(model_file="evil.py")
    (folder / "evil.py").write_text("raise SystemExit('run')")
    assert "not run" in str(refusal(folder))


def test_kv_that_cannot_be_quantized_is_said_so(variant: Callable[..., Path], load: Load) -> None:
    from msgspec.structs import replace

    sliding = variant(layer_types=["full_attention", "sliding_attention"] * 2, sliding_window=16)
    with pytest.raises(LoadFailed, match="cannot be quantized"):
        load(sliding, replace(OPTIONS, kv_type=KvType.Q8_0))


def test_keys_and_values_of_two_types_are_refused_before_anything_is_read(guide: Path, load: Load) -> None:
    from msgspec.structs import replace

    with pytest.raises(LoadFailed, match="q8_0/q4_0 is two; use --kv-type q8_0, q4_0 or f16"):
        load(guide, replace(OPTIONS, kv_type=KvType.Q8_0_Q4_0))


def test_it_takes_folders_of_safetensors_alone(guide: Path) -> None:

    assert MlxEngine().formats == (artifact(guide).format,)
