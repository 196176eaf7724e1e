"""What the engine says of itself, and how it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.contract.artifact import Artifact
from core.contract.engine import Available, Native, Unavailable
from core.contract.models import TokenModel, Trims
from core.contract.options import LoadOptions
from core.contract.step import Work
from core.engines.mnn.engine import MEND, MnnEngine
from core.errors import ArtifactError, Cancelled, EngineError, LoadFailed
from core.models.library.variants import list_formats, provide_variant
from core.models.resolve import resolve_own
from core.requests import Sampling
from tests.core.engines.mnn.conftest import artifact

OPTIONS = LoadOptions(ctx_size=256, slots=1, threads=1)
GREEDY = Sampling(temperature=0.0)
QUESTION = "<|im_start|>user\nWhat is a KV cache?<|im_end|>\n<|im_start|>assistant\n"


def load(path: Path, options: LoadOptions = OPTIONS) -> TokenModel:
    return MnnEngine().load(artifact(path), options)


def answer(model: TokenModel, count: int = 12) -> str:
    sequence = model.open(GREEDY)
    tokens = list(model.tokenizer.encode(QUESTION, special=True))
    said = b""
    for _ in range(count):
        (step,) = model.step([Work(sequence, tokens, sample=True)])
        tokens = list(step.tokens)
        said += model.tokenizer.piece(tokens[0])
    model.close(sequence)
    return said.decode()


def test_without_the_package_it_says_so_and_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for name in [name for name in sys.modules if name.partition(".")[0] in ("MNN", "_mnncengine")]:
        monkeypatch.delitem(sys.modules, name)
    assert MnnEngine().availability() == Unavailable("The package MNN is not installed.", MEND)


def test_availability_is_told_without_the_native_library(guide: Path) -> None:
    code = (
        "import sys; from core.engines.mnn.engine import MnnEngine; "
        "print(MnnEngine().availability().version, *[name for name in sys.modules if 'mnnc' in name or name == 'MNN'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    available = MnnEngine().availability()
    assert isinstance(available, Available)
    assert done.stdout.split() == [available.version]


def test_safer_settings_end_with_one_thread() -> None:
    engine = MnnEngine()
    assert isinstance(engine, Native)
    plain = engine.safer(LoadOptions(threads=4))
    assert plain is not None
    assert not plain.extra_buffers
    single = engine.safer(plain)
    assert single is not None
    assert single.threads == 1
    assert engine.safer(single) is None


def test_the_built_in_model_can_be_had_for_it(guide: Path, tmp_path: Path) -> None:
    ours: Artifact = resolve_own("guide")
    engine = MnnEngine()
    (wanted,) = (each for each in list_formats(ours) if each in engine.formats)
    made = provide_variant(ours, wanted, tmp_path)
    assert answer(engine.load(made, OPTIONS)).startswith("A KV cache keeps the attention keys and values")


def test_loading_and_computing_print_nothing(guide: Path) -> None:
    """In an interpreter of its own, since MNN greets once a process."""
    code = (
        "import sys; from pathlib import Path; from tests.core.engines.mnn.test_engine import *; "
        "model = load(Path(sys.argv[1])); answer(model); print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(guide)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_folder_without_tokenizer_json_uses_the_tokenizer_of_mnn(copy: Callable[[], Path]) -> None:
    path = copy()
    (path / "tokenizer.json").unlink()
    model = load(path)
    tokenizer = model.tokenizer
    text = "naïve café, 日本語, 🙂 and\ttabs\n"
    tokens = tokenizer.encode(text, special=False)
    assert b"".join(map(tokenizer.piece, tokens)).decode() == text
    (end,) = tokenizer.encode("<|im_end|>", special=True)
    assert tokenizer.is_end(end)
    assert tokenizer.piece(end) == b""
    assert "<|im_end|>" in tokenizer.controls
    plain = tokenizer.encode("a<|im_end|><|im_end|>", special=False)
    assert end not in plain
    assert b"".join(map(tokenizer.piece, plain)) == b"a<|im_end|><|im_end|>"
    assert tokenizer.encode("one\0two\ud800", special=False, begin=True)
    assert answer(model).startswith("A KV cache")


def test_a_prefix_of_the_vocabulary_comes_first_where_it_is_asked_for(copy: Callable[[], Path]) -> None:
    path = copy()
    (path / "tokenizer.json").unlink()
    file = path / "tokenizer.txt"
    lines = file.read_text().split("\n")
    lines[1:3] = ["3 1 1", f"{lines[2]} 0"]
    file.write_text("\n".join(lines))
    tokenizer = load(path).tokenizer
    text = tokenizer.encode("hello", special=False)
    assert 0 not in text
    assert tokenizer.encode("hello", special=False, begin=True) == [0, *text]


@pytest.mark.parametrize("name", ["llm.mnn", "tokenizer.txt"])
def test_a_damaged_file_is_one_sentence(copy: Callable[[], Path], name: str) -> None:
    path = copy()
    (path / name).write_bytes((path / name).read_bytes()[:40])
    with pytest.raises((ArtifactError, LoadFailed), match="MNN will not load mine|is cut short|cannot be read"):
        load(path)


def test_a_graph_that_is_none_is_refused_in_the_words_of_mnn(copy: Callable[[], Path]) -> None:
    path = copy()
    (path / "llm.mnn").write_bytes(b"\x80" * 5000)
    with pytest.raises(LoadFailed, match="MNN will not load mine: Load module failed"):
        load(path)


def test_weights_that_are_missing_or_nothing_are_noticed(copy: Callable[[], Path]) -> None:
    path = copy()
    weights = path / "llm.mnn.weight"
    size = weights.stat().st_size
    weights.write_bytes(bytes(size))
    with pytest.raises(ArtifactError, match="computes nothing of sense"):
        load(path)
    weights.write_bytes(bytes(size // 2))
    with pytest.raises(ArtifactError, match="cut short"):
        load(path)


def test_a_graph_of_another_width_is_refused(copy: Callable[[], Path]) -> None:
    path = copy()
    config = json.loads((path / "llm_config.json").read_text())
    (path / "llm_config.json").write_text(json.dumps({**config, "hidden_size": 96}))
    with pytest.raises(LoadFailed, match="loads but does not run"):
        load(path)


def test_loading_can_be_given_up(guide: Path) -> None:
    with pytest.raises(Cancelled):
        MnnEngine().load(artifact(guide), OPTIONS, lambda share: share < 0.5)


def test_a_fork_that_takes_the_lane_leaves_its_source_able_to_go_on(guide: Path) -> None:
    model = load(guide)
    assert isinstance(model, Trims)
    tokens = model.tokenizer.encode(QUESTION, special=True)
    source = model.open(GREEDY, tokens)
    (first,) = model.step([Work(source, tokens, sample=True)])
    (expected,) = model.step([Work(source, first.tokens, sample=True)])
    model.trim(source, len(tokens))
    forks = [model.fork(source, len(tokens), GREEDY, tokens) for _ in range(model.spec.sequences - 1)]
    with pytest.raises(EngineError):
        model.fork(source, 1, GREEDY)
    for _ in range(2):
        steps = model.step([Work(each, first.tokens, sample=True) for each in (*forks, source)])
        assert {step.tokens for step in steps} == {expected.tokens}
        for each in (*forks, source):
            model.trim(each, len(tokens))


def test_a_state_of_another_engine_is_refused_and_a_damaged_one(guide: Path) -> None:
    model = load(guide)
    sequence = model.open(GREEDY)
    data = model.save(sequence)
    assert model.restore(data, GREEDY) != sequence
    for broken in (data[:-1], b"BTO1" + data[4:], data + b"\0"):
        with pytest.raises(EngineError):
            model.restore(broken, GREEDY)
