"""Cross-encoders as ONNX graphs, of random weights: the scores are those of numpy. No real ones are at hand."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from core.contract.artifact import Artifact
from core.contract.models import Reranker, TokenPair
from core.contract.options import LoadOptions, Pooling
from core.engines.onnx.cross_encoder import OnnxReranker
from core.engines.onnx.engine import OnnxEngine
from core.errors import EngineFailed, Interrupted, LoadFailed
from core.models.formats.detect import detect_folder
from tests.fakes.bert import (
    CLS,
    SEP,
    WORDS,
    BertGraph,
    classify,
    hidden,
    make_classifier,
    random_weights,
    write_embedder,
    write_reranker,
)

QUERY = "is the world a cache?"
DOCUMENTS = ("hello world", "the cache is a token cache?", "Hello", "a cache of tokens? the cache is hello")


def load(path: Path, **options: object) -> OnnxReranker:
    settings = LoadOptions(**({"threads": 1} | options))  # type: ignore[arg-type]
    model = OnnxEngine().load(Artifact("tiny", "onnx-reranker", path, 0), settings)
    assert isinstance(model, OnnxReranker)
    assert isinstance(model, Reranker)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_reranker(tmp_path / "tiny")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> OnnxReranker:
    return load(write_reranker(tmp_path_factory.mktemp("bert") / "tiny"))


def expected(pair: TokenPair) -> float:
    weights = random_weights() | make_classifier()
    return float(classify(weights, hidden(weights, pair.tokens, second=pair.second)[0])[0])


def test_pairs_of_any_length_in_one_pass_have_the_scores_that_numpy_computes(model: OnnxReranker) -> None:
    pairs = [model.encode_pair(QUERY, document) for document in DOCUMENTS]
    np.testing.assert_allclose(model.score(pairs), [expected(pair) for pair in pairs], atol=1e-4)
    assert (model.bounded, model.batched, model.padded) == (False, True, True)
    assert model.spec.context == 32


def test_query_and_document_are_told_apart_by_their_types(model: OnnxReranker) -> None:
    hello, world = WORDS.index("hello"), WORDS.index("world")
    assert model.encode_pair("hello", "world") == TokenPair([CLS, hello, SEP, world, SEP], 3)


@pytest.mark.parametrize("limit", range(3, 9))
def test_a_document_is_cut_to_what_is_left_beside_the_query(model: OnnxReranker, limit: int) -> None:
    pair = model.encode_pair("hello", "world world world world", limit=limit)
    assert len(pair) == max(4, min(limit, 8))
    assert list(pair.tokens)[:3] == [CLS, WORDS.index("hello"), SEP]
    assert (pair.tokens[-1], pair.second) == (SEP, 3)


def test_a_graph_that_sorts_into_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="sorts texts into 3 classes"):
        load(write_reranker(tmp_path / "three", labels=3))


def test_a_graph_that_gives_more_than_its_configuration_says_is_refused(folder: Path) -> None:
    onnx.save(BertGraph(random_weights() | make_classifier(2)).build(), folder / "onnx" / "model.onnx")
    with pytest.raises(LoadFailed, match="2 numbers for a pair"):
        load(folder)


def test_a_graph_without_logits_is_refused_with_what_it_gives(folder: Path) -> None:
    onnx.save(BertGraph(random_weights()).build(), folder / "onnx" / "model.onnx")
    with pytest.raises(LoadFailed, match="gives last_hidden_state, and no logits"):
        load(folder)


def test_an_output_behind_the_logistic_function_is_from_0_to_1(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    proto = onnx.load(path)
    proto.graph.node.append(onnx.helper.make_node("Sigmoid", ["logits"], ["scores"]))
    del proto.graph.output[:]
    proto.graph.output.append(onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["b", 1]))
    onnx.save(proto, path)
    model = load(folder)
    pair = model.encode_pair(QUERY, DOCUMENTS[0])
    assert model.bounded
    np.testing.assert_allclose(model.score([pair]), [1 / (1 + np.exp(-expected(pair)))], atol=1e-4)


def test_scores_that_are_no_numbers_fail_the_pass(folder: Path) -> None:
    weights = random_weights() | make_classifier()
    weights["embeddings.word_embeddings.weight"][WORDS.index("world")] = np.nan
    onnx.save(BertGraph(weights).build(), folder / "onnx" / "model.onnx")
    model = load(folder)
    assert len(model.score([model.encode_pair("hello", "hello")])) == 1
    with pytest.raises(EngineFailed, match="no numbers"):
        model.score([model.encode_pair("hello", "world")])


def test_a_pass_can_be_interrupted(model: OnnxReranker) -> None:
    pair = model.encode_pair(QUERY, DOCUMENTS[0])
    model.interrupt(True)
    with pytest.raises(Interrupted):
        model.score([pair])
    model.interrupt(False)
    assert len(model.score([pair])) == 1


def test_cross_encoders_are_told_from_embedders(folder: Path, tmp_path: Path) -> None:
    assert detect_folder(folder) == "onnx-reranker"
    assert detect_folder(write_embedder(tmp_path / "embedder")) == "onnx-embedder"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    assert detect_folder(folder) == "onnx-embedder"


def test_the_pooling_of_the_settings_goes_before_that_of_a_folder(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "embedder")
    artifact = Artifact("tiny", "onnx-embedder", folder, 0)
    model = OnnxEngine().load(artifact, LoadOptions(threads=1, pooling=Pooling.CLS))
    assert any("cls pooling" in note for note in model.spec.notes)
    with pytest.raises(LoadFailed, match="--pooling rank is for rerankers"):
        OnnxEngine().load(artifact, LoadOptions(threads=1, pooling=Pooling.RANK))
