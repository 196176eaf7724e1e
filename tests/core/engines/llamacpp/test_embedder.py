"""GGUF files that make vectors: those of numpy on a small made-up BERT, those of an ONNX graph on real weights."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from core.contract.artifact import Artifact
from core.contract.models import Embedder
from core.contract.options import LoadOptions, Pooling
from core.engines.llamacpp.embedder import LlamaEmbedder
from core.engines.llamacpp.engine import LlamaCppEngine
from core.engines.onnx.engine import OnnxEngine
from core.errors import EngineFailed, Interrupted, LoadFailed
from tests.fakes.bert import (
    CLS,
    POSITIONS,
    SEP,
    WIDTH,
    WORDS,
    Floats,
    hidden,
    random_weights,
)
from tests.fakes.bert_gguf import write_gguf
from tests.fakes.minilm import minilm_folder
from tests.fakes.real_weights import MINILM_GGUF, real_weights

TEXTS = ("hello world", "the cache is a token cache?", "Hello", "is the world a cache of tokens? the cache is hello")
POOLINGS: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda tokens: tokens.mean(axis=0),
    "cls": lambda tokens: tokens[0],
    "last": lambda tokens: tokens[-1],
}
BASE: dict[str, object] = {"threads": 1, "batch_threads": 1, "extra_buffers": False}
ROUNDING = 5e-3
"""llama.cpp's GELU is a table in half precision."""


def load(path: Path, **options: object) -> LlamaEmbedder:
    settings = LoadOptions(**(BASE | options))  # type: ignore[arg-type]
    model = LlamaCppEngine().load(Artifact("tiny", "gguf", path, path.stat().st_size), settings)
    assert isinstance(model, LlamaEmbedder)
    assert isinstance(model, Embedder)
    return model


def vectors(model: Embedder, texts: Sequence[str]) -> Floats:
    made = model.embed([model.encode(text) for text in texts])
    return np.stack([np.frombuffer(each, "<f4") for each in made])


def unit(vector: Floats) -> Floats:
    made: Floats = vector / np.linalg.norm(vector)
    return made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("bert") / "tiny.gguf", random_weights())


@pytest.fixture(scope="module")
def model(path: Path) -> LlamaEmbedder:
    return load(path)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_texts_of_any_length_in_one_pass_have_the_vectors_that_numpy_computes(pooling: str, tmp_path: Path) -> None:
    weights = random_weights()
    model = load(write_gguf(tmp_path / "tiny.gguf", weights, pooling=pooling))
    for text, vector in zip(TEXTS, vectors(model, TEXTS), strict=True):
        np.testing.assert_allclose(vector, unit(POOLINGS[pooling](hidden(weights, model.encode(text)))), atol=ROUNDING)
    model.shutdown()


def test_the_pooling_of_the_settings_goes_before_that_of_the_file(path: Path) -> None:
    model = load(path, pooling=Pooling.CLS)
    expected = unit(hidden(random_weights(), model.encode(TEXTS[1]))[0])
    np.testing.assert_allclose(vectors(model, TEXTS[1:2])[0], expected, atol=ROUNDING)
    assert any("cls pooling, normalised." in note for note in model.spec.notes)
    model.shutdown()


def test_an_encoder_without_a_word_on_pooling_pools_as_is_usual_and_says_so(tmp_path: Path) -> None:
    model = load(write_gguf(tmp_path / "tiny.gguf", random_weights(), pooling=None))
    assert any("mean pooling, normalised, as is usual" in note for note in model.spec.notes)
    np.testing.assert_allclose(np.linalg.norm(vectors(model, TEXTS), axis=-1), 1, rtol=1e-5)
    model.shutdown()


def test_a_text_gets_the_tokens_around_it_and_is_cut_where_that_is_asked(model: LlamaEmbedder) -> None:
    hello = WORDS.index("hello")
    words = " ".join(["hello"] * 20)
    assert model.encode("Hello world") == [CLS, hello, WORDS.index("world"), SEP]
    assert model.encode(words) == [CLS, *[hello] * 20, SEP]
    assert model.encode(words, limit=5) == [CLS, *[hello] * 3, SEP]
    assert model.encode("[SEP]") != [CLS, SEP, SEP]


def test_the_spec_tells_what_the_header_says(model: LlamaEmbedder) -> None:
    spec = model.spec
    assert (spec.architecture, spec.context, spec.trained_context, spec.template) == (
        "bert",
        POSITIONS,
        POSITIONS,
        None,
    )
    assert (model.width, model.vocabulary, model.padded) == (WIDTH, len(WORDS), False)


@pytest.mark.parametrize(("asked", "context"), [(None, POSITIONS), (16, 16), (4096, POSITIONS)])
def test_no_text_is_longer_than_the_positions_that_the_model_knows(path: Path, asked: int | None, context: int) -> None:
    model = load(path, ctx_size=asked)
    assert model.spec.context == context
    assert any("knows no later positions" in note for note in model.spec.notes) == (asked == 4096)
    model.shutdown()


def test_more_texts_than_a_pass_takes_are_computed_in_several(path: Path) -> None:
    model = load(path, batch=32)
    texts = [TEXTS[number % len(TEXTS)] for number in range(600)]
    made = vectors(model, texts)
    alone = vectors(model, TEXTS[:1])[0]
    np.testing.assert_allclose(made[:: len(TEXTS)], np.broadcast_to(alone, (150, WIDTH)), atol=ROUNDING)
    model.shutdown()


def test_a_text_longer_than_any_pass_fails_and_the_next_does_not(model: LlamaEmbedder) -> None:
    with pytest.raises(EngineFailed, match="takes 256 at most"):
        model.embed([[CLS] * 257])
    assert vectors(model, TEXTS).shape == (len(TEXTS), WIDTH)


def test_a_pass_can_be_interrupted(model: LlamaEmbedder) -> None:
    model.interrupt(True)
    with pytest.raises(Interrupted):
        vectors(model, TEXTS)
    model.interrupt(False)
    assert vectors(model, TEXTS).shape == (len(TEXTS), WIDTH)


def test_numbers_that_are_none_fail_the_pass(tmp_path: Path) -> None:
    weights = random_weights()
    weights["embeddings.word_embeddings.weight"][WORDS.index("world")] = np.nan
    model = load(write_gguf(tmp_path / "tiny.gguf", weights))
    assert len(vectors(model, ["hello"])) == 1
    with pytest.raises(EngineFailed, match="no numbers"):
        vectors(model, ["world"])
    model.shutdown()


def test_a_decoder_makes_vectors_where_the_settings_say_so(tmp_path: Path) -> None:
    from core.guide import WEIGHTS

    model = load(WEIGHTS, pooling=Pooling.LAST, batch=32)
    long = "What is a KV cache? " * 20
    both = vectors(model, [long, "hello"])
    np.testing.assert_allclose(both[0], vectors(model, [long])[0], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(both, axis=-1), 1, rtol=1e-5)
    assert both[0] @ both[1] < 0.999
    model.shutdown()


def test_a_model_without_a_head_that_ranks_is_refused_as_a_reranker(path: Path) -> None:
    with pytest.raises(LoadFailed, match="no head that scores"):
        load(path, pooling=Pooling.RANK)


def test_minilm_gives_the_vectors_of_its_onnx_graph(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = minilm_folder(tmp_path_factory)
    reference = OnnxEngine().load(Artifact("minilm", "onnx-embedder", folder, 0), LoadOptions(threads=1))
    assert isinstance(reference, Embedder)
    model = load(real_weights(MINILM_GGUF))
    texts = make_texts(300)
    own = [model.encode(text, limit=model.spec.context) for text in texts]
    assert own == [reference.encode(text, limit=model.spec.context) for text in texts]
    for start in range(0, len(texts), 50):
        made, expected = model.embed(own[start : start + 50]), reference.embed(own[start : start + 50])
        np.testing.assert_allclose(
            np.stack([np.frombuffer(each, "<f4") for each in made]),
            np.stack([np.frombuffer(each, "<f4") for each in expected]),
            atol=1e-3,
        )
    model.shutdown()


SUBJECTS = ("The weather", "A cat", "My server", "L'été", "The café's owner", "Nobody", "Das Wörterbuch", "東京")
VERBS = ("is lovely today", "sleeps on the couch", "computes embeddings", "costs $12.50 (or less)", "doesn't answer")
ENDS = (".", "!", " - or so they say.", ", which is why we stayed at home until the evening news were over.")


def make_texts(count: int) -> list[str]:
    """Sentences of a few words to two dozens, no two alike."""
    made = []
    for number in range(count):
        subject, verb = SUBJECTS[number % len(SUBJECTS)], VERBS[number % len(VERBS)]
        made.append(f"{subject} {verb}{ENDS[number % len(ENDS)]} {number}" + f" {verb}." * (number % 2))
    return made
