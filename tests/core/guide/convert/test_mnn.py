"""The built-in model as an MNN folder."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import gguf
import numpy as np
import pytest

from core.guide import WEIGHTS
from core.guide.convert.mlx import LlamaHeader
from core.guide.convert.mnn import VALUES, format_tokenizer, write_model
from tests.fakes.weights import truncated

needs_mnn = pytest.mark.skipif(find_spec("MNN") is None, reason="mnn: The package MNN is not installed.")


@needs_mnn
def test_the_weights_are_copied_as_they_are_and_the_embeddings_serve_twice(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "guide")
    config = json.loads((folder / "llm_config.json").read_text())
    place, end, *_ = config["tie_embeddings"]
    reader = gguf.GGUFReader(WEIGHTS)
    matrices = {tensor.name: tensor.data for tensor in reader.tensors if tensor.data.ndim > 1}
    values = (folder / VALUES).read_bytes()
    assert len(values) == end == 2 * sum(matrix.size for matrix in matrices.values())
    found = np.frombuffer(values[place:end], np.float16).reshape(-1, config["hidden_size"])
    assert np.array_equal(found, matrices["token_embd.weight"])


@needs_mnn
def test_nothing_but_the_folder_of_the_exporter_is_left(tmp_path: Path) -> None:
    names = {path.name for path in write_model(tmp_path / "guide").iterdir()}
    files = {"config.json", "llm_config.json", "llm.mnn", "llm.mnn.weight", "tokenizer.txt", "tokenizer.json"}
    assert names == files


def test_the_tokenizer_counts_its_lines() -> None:
    header = LlamaHeader(gguf.GGUFReader(WEIGHTS))
    magic, counts, controls, sizes, *lines = format_tokenizer(header).removesuffix("\n").split("\n")
    assert (magic, counts, controls) == ("430 3", "3 1 0", "0 1 2 2")
    assert sum(int(size) for size in sizes.split()) == len(lines)


@needs_mnn
def test_a_converter_that_fails_leaves_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "guide"
    (folder / "llm.mnn").mkdir(parents=True)
    with pytest.raises(OSError, match="converter failed"):
        write_model(folder)
    shutil.rmtree(folder)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_model(tmp_path / "guide", truncated(tmp_path))
