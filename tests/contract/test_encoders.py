"""What every model that makes vectors or scores of texts must do, on a small made-up BERT in each format."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec import Struct

from core.contract.artifact import Artifact
from core.contract.engine import Engine
from core.contract.models import Embedder, Reranker
from core.contract.options import LoadOptions
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.onnx.engine import OnnxEngine
from core.errors import Interrupted
from core.serving.ability import find_kind
from core.snapshots import ModelKind
from core.trial.rehearsal import rehearse_model
from tests.fakes.bert import make_classifier, random_weights, write_embedder, write_reranker
from tests.fakes.bert_gguf import write_gguf

TEXTS = ("hello", "the cache is a token cache?", "is the world a cache of tokens? the cache is hello", "world")
OPTIONS = LoadOptions(threads=1, batch_threads=1, extra_buffers=False, batch=64)
ROUNDING = 5e-3


class EncoderSubject(Struct, frozen=True):
    """An engine with something for it to run."""

    engine: Callable[[], Engine]
    format: str
    write: Callable[[Path], Path]


def write_ranking_gguf(folder: Path) -> Path:
    return write_gguf(folder.with_suffix(".gguf"), random_weights() | make_classifier(), pooling="rank")


EMBEDDERS = {
    "onnxruntime": EncoderSubject(OnnxEngine, "onnx-embedder", write_embedder),
    "llamacpp": EncoderSubject(
        LlamaCppEngine, "gguf", lambda folder: write_gguf(folder.with_suffix(".gguf"), random_weights())
    ),
}
RERANKERS = {
    "onnxruntime": EncoderSubject(OnnxEngine, "onnx-reranker", write_reranker),
    "llamacpp": EncoderSubject(LlamaCppEngine, "gguf", write_ranking_gguf),
}


def load(subject: EncoderSubject, folder: Path) -> object:
    path = subject.write(folder / "tiny")
    return subject.engine().load(Artifact("tiny", subject.format, path, 0), OPTIONS)


@pytest.fixture(scope="module", params=[*EMBEDDERS.values()], ids=[*EMBEDDERS])
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    model = load(request.param, tmp_path_factory.mktemp("bert"))
    assert isinstance(model, Embedder)
    yield model
    model.shutdown()


@pytest.fixture(scope="module", params=[*RERANKERS.values()], ids=[*RERANKERS])
def reranker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reranker]:
    model = load(request.param, tmp_path_factory.mktemp("bert"))
    assert isinstance(model, Reranker)
    yield model
    model.shutdown()


def vectors(model: Embedder, inputs: Sequence[Sequence[int]]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.stack([np.frombuffer(each, "<f4") for each in model.embed(inputs)])


def test_an_embedder_is_of_its_kind_and_comes_through_a_trial(embedder: Embedder) -> None:
    assert find_kind(embedder) is ModelKind.EMBEDDING
    assert not isinstance(embedder, Reranker)
    rehearse_model(embedder)


def test_a_vector_does_not_depend_on_company_and_order(embedder: Embedder) -> None:
    inputs = [embedder.encode(text) for text in TEXTS]
    alone = np.concatenate([vectors(embedder, [each]) for each in inputs])
    np.testing.assert_allclose(vectors(embedder, inputs), alone, atol=ROUNDING)
    np.testing.assert_allclose(vectors(embedder, inputs[::-1]), alone[::-1], atol=ROUNDING)
    assert alone.shape == (len(TEXTS), embedder.width)


def test_tokens_may_come_in_any_sequence(embedder: Embedder) -> None:
    tokens = embedder.encode(TEXTS[1])
    as_list, as_array, as_tuple = vectors(embedder, [tokens, array("i", tokens), tuple(tokens)])
    np.testing.assert_allclose(as_list, as_array, atol=ROUNDING)
    np.testing.assert_allclose(as_list, as_tuple, atol=ROUNDING)


@pytest.mark.parametrize("limit", [3, 5, 8])
def test_a_text_is_cut_and_keeps_its_end(embedder: Embedder, limit: int) -> None:
    whole, cut = embedder.encode(TEXTS[2]), embedder.encode(TEXTS[2], limit=limit)
    assert cut == [*whole[: limit - 1], whole[-1]]
    assert embedder.encode(TEXTS[0], limit=limit) == embedder.encode(TEXTS[0])


def test_an_input_larger_than_a_batch_is_computed_alone(embedder: Embedder) -> None:
    limit = embedder.spec.context
    long = embedder.encode("hello " * limit, limit=limit)
    assert len(long) == limit
    assert np.isfinite(vectors(embedder, [long])).all()


def test_an_interrupted_embedder_goes_on_when_it_is_let(embedder: Embedder) -> None:
    inputs = [embedder.encode(text) for text in TEXTS]
    embedder.interrupt(True)
    with pytest.raises(Interrupted):
        embedder.embed(inputs)
    embedder.interrupt(False)
    assert len(embedder.embed(inputs)) == len(TEXTS)


def test_a_reranker_is_of_its_kind_and_comes_through_a_trial(reranker: Reranker) -> None:
    assert find_kind(reranker) is ModelKind.RERANKING
    assert not isinstance(reranker, Embedder)
    rehearse_model(reranker)


def test_a_score_does_not_depend_on_company_and_order(reranker: Reranker) -> None:
    pairs = [reranker.encode_pair(TEXTS[0], text) for text in TEXTS]
    alone = [reranker.score([pair])[0] for pair in pairs]
    np.testing.assert_allclose(reranker.score(pairs), alone, atol=ROUNDING)
    np.testing.assert_allclose(reranker.score(pairs[::-1]), alone[::-1], atol=ROUNDING)
    assert len({round(score, 2) for score in alone}) > 1


def test_a_pair_has_the_query_whole_and_as_much_of_the_document_as_fits(reranker: Reranker) -> None:
    whole = reranker.encode_pair(TEXTS[0], TEXTS[2])
    cut = reranker.encode_pair(TEXTS[0], TEXTS[2], limit=8)
    assert len(cut) == 8
    assert list(cut.tokens) == [*whole.tokens[:7], whole.tokens[-1]]
    assert cut.second == whole.second
    assert len(reranker.encode_pair(TEXTS[2], TEXTS[0], limit=4)) > 4


def test_an_interrupted_reranker_goes_on_when_it_is_let(reranker: Reranker) -> None:
    pairs = [reranker.encode_pair(TEXTS[0], text) for text in TEXTS]
    reranker.interrupt(True)
    with pytest.raises(Interrupted):
        reranker.score(pairs)
    reranker.interrupt(False)
    assert len(reranker.score(pairs)) == len(TEXTS)
