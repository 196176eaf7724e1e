"""Folders that MLX loads: guide, and variants of it. Nothing here runs without the extra `mlx`."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.contract.artifact import Artifact
from core.contract.engine import Available
from core.contract.models import TokenModel
from core.contract.options import LoadOptions
from core.engines.mlx.engine import MlxEngine
from core.errors import BenchtopError

if not isinstance(MlxEngine().availability(), Available):
    # The contract suite reports the engine as skipped, with the reason.
    collect_ignore = ["test_checkpoints.py", "test_loading.py", "test_model.py", "test_sampling.py", "test_to_mlx.py"]

OPTIONS = LoadOptions(ctx_size=512, slots=4, batch=256)
Load = Callable[..., Any]


@pytest.fixture(scope="session")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from core.guide.convert.mlx import write_model

    return write_model(tmp_path_factory.mktemp("mlx") / "guide")


@pytest.fixture
def variant(guide: Path, tmp_path: Path) -> Callable[..., Path]:
    """guide with other entries in its config.json."""

    def make(**changes: object) -> Path:
        folder = tmp_path / "variant"
        folder.mkdir()
        for file in guide.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.fixture
def mamba(variant: Callable[..., Path]) -> Path:
    """A small recurrent model with random weights and guide's vocabulary."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.models import mamba

    shape = {"hidden_size": 32, "intermediate_size": 64, "state_size": 8, "num_hidden_layers": 2, "conv_kernel": 4}
    config = {"model_type": "mamba", "vocab_size": 2048, "use_bias": False, "use_conv_bias": True}
    config |= {"time_step_rank": 4, **shape}
    mx.random.seed(1)
    arguments: Any = mamba.ModelArgs
    network = mamba.Model(arguments.from_dict(config))
    folder = variant(**config)
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network.parameters())))
    return folder


@pytest.fixture
def load() -> Iterator[Load]:
    """Loads a folder; what was loaded is shut down at the end."""
    loaded: list[TokenModel] = []

    def loads(folder: Path, options: LoadOptions = OPTIONS, **arguments: Any) -> TokenModel:
        model = MlxEngine().load(artifact(folder), options, **arguments)
        loaded.append(model)
        return model

    yield loads
    for model in loaded:
        model.shutdown()


def artifact(folder: Path) -> Artifact:
    return Artifact("guide", "mlx", folder, 1)


def refusal(folder: Path) -> BenchtopError:
    """What loading the folder raises."""
    with pytest.raises(BenchtopError) as caught:
        MlxEngine().load(artifact(folder), OPTIONS)
    return caught.value
