"""Every engine that is present, on the weights of the built-in model where it takes weights."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.engine import Available
from core.contract.models import Embedder, Reranker, StreamModel, TokenModel, Transcriber
from core.contract.options import LoadOptions
from core.engines.echo import ARTIFACT
from core.engines.registry import Engines
from core.guide import WEIGHTS
from tests.fakes.weights import genai_folder, mlx_folder, mnn_folder, onnx_folder, quantized

CONTEXT = 512


class Subject(Struct, frozen=True):
    """An engine with something for it to run."""

    engine: str
    kind: str
    options: LoadOptions = LoadOptions(ctx_size=CONTEXT, slots=4, batch=128)


SUBJECTS = (
    Subject("echo", "script"),
    Subject("llamacpp", "f16"),
    Subject("llamacpp", "q8_0"),
    Subject("mlx", "mlx"),
    Subject("onnxruntime", "onnx"),
    Subject("onnxruntime-genai", "genai"),
    Subject("mnn", "mnn"),
    Subject("llamacpp", "f16", LoadOptions(ctx_size=CONTEXT, slots=4, batch=128, threads=1, batch_threads=1)),
)


def name(subject: Subject) -> str:
    threads = f"-{subject.options.threads}-thread" if subject.options.threads else ""
    return f"{subject.engine}-{subject.kind}{threads}"


def artifact_of(kind: str, folder: Path) -> Artifact:
    match kind:
        case "script":
            return ARTIFACT
        case "mlx":
            path = mlx_folder(folder)
            return Artifact("guide", "mlx", path, sum(file.stat().st_size for file in path.rglob("*")))
        case "onnx":
            path = onnx_folder(folder)
            return Artifact("guide", "onnx", path, sum(file.stat().st_size for file in path.rglob("*")))
        case "mnn":
            path = mnn_folder(folder)
            return Artifact("guide", "mnn", path, sum(file.stat().st_size for file in path.rglob("*")))
        case "genai":
            path = genai_folder(folder)
            size = sum(file.stat().st_size for file in path.rglob("*"))
            return Artifact("guide", "onnx-genai", path, size)
        case "q8_0":
            path = quantized(WEIGHTS, folder)
        case _:
            path = WEIGHTS
    return Artifact("guide", "gguf", path, path.stat().st_size)


@pytest.fixture(scope="module", params=SUBJECTS, ids=name)
def subject(request: pytest.FixtureRequest) -> Subject:
    chosen: Subject = request.param
    availability = Engines().get(chosen.engine).availability()
    if not isinstance(availability, Available):
        pytest.skip(f"{chosen.engine}: {availability.reason}")
    return chosen


@pytest.fixture(scope="module")
def model(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenModel]:
    artifact = artifact_of(subject.kind, tmp_path_factory.mktemp("weights"))
    # Quantized kernels with extra buffer types fault on some machines, which is the probe's subject, not this suite's.
    from msgspec.structs import replace

    loaded = Engines().get(subject.engine).load(artifact, replace(subject.options, extra_buffers=False))
    assert not isinstance(loaded, StreamModel | Transcriber | Embedder | Reranker), (
        "it schedules itself; this suite is for models that we schedule"
    )
    yield loaded
    loaded.shutdown()
