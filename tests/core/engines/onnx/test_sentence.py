"""Sentence embedders: the vectors are those of a computation with numpy alone."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.contract.artifact import Artifact
from core.contract.options import LoadOptions, Pooling
from core.engines.onnx.engine import OnnxEngine
from core.engines.onnx.sentence import OnnxEmbedder
from core.errors import ArtifactError, EngineFailed, Interrupted, LoadFailed
from core.models.formats.detect import detect_folder
from tests.fakes.bert import (
    CLS,
    POSITIONS,
    SEP,
    WIDTH,
    WORDS,
    BertGraph,
    Floats,
    hidden,
    random_weights,
    read_safetensors,
    write_embedder,
)
from tests.fakes.minilm import minilm_folder
from tests.fakes.real_weights import MINILM, real_weights

TEXTS = ("hello world", "the cache is a token cache?", "Hello", "is the world a cache of tokens? the cache is hello")


def load(path: Path, options: LoadOptions = LoadOptions(threads=1)) -> OnnxEmbedder:
    model = OnnxEngine().load(Artifact("tiny", "onnx-embedder", path, 0), options)
    assert isinstance(model, OnnxEmbedder)
    return model


def vectors(model: OnnxEmbedder, texts: Sequence[str]) -> Floats:
    made = model.embed([model.encode(text) for text in texts])
    return np.stack([np.frombuffer(each, "<f4") for each in made])


def unit(vector: Floats) -> Floats:
    made: Floats = vector / np.linalg.norm(vector)
    return made


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("bert") / "tiny")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(written, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def model(written: Path) -> OnnxEmbedder:
    return load(written)


POOLINGS: dict[str, Callable[[Floats], Floats]] = {
    "mean_tokens": lambda tokens: tokens.mean(axis=0),
    "cls_token": lambda tokens: tokens[0],
    "lasttoken": lambda tokens: tokens[-1],
    "max_tokens": lambda tokens: tokens.max(axis=0),
    "mean_sqrt_len_tokens": lambda tokens: tokens.sum(axis=0) / np.sqrt(len(tokens)),
    "weightedmean_tokens": lambda tokens: np.average(tokens, axis=0, weights=np.arange(1, len(tokens) + 1)),
}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("normalize", [True, False])
def test_texts_of_any_length_in_one_pass_have_the_vectors_that_numpy_computes(
    pooling: str, normalize: bool, tmp_path: Path
) -> None:
    model = load(write_embedder(tmp_path / "tiny", pooling=pooling, normalize=normalize))
    weights = random_weights()
    for text, vector in zip(TEXTS, vectors(model, TEXTS), strict=True):
        expected = POOLINGS[pooling](hidden(weights, model.encode(text)))
        np.testing.assert_allclose(vector, unit(expected) if normalize else expected, rtol=1e-3, atol=1e-4)


def test_a_text_gets_the_tokens_around_it_and_is_neither_padded_nor_cut(model: OnnxEmbedder) -> None:
    words = " ".join(["hello"] * 20)
    assert model.encode("Hello world") == [CLS, WORDS.index("hello"), WORDS.index("world"), SEP]
    assert model.encode(words) == [CLS, *[WORDS.index("hello")] * 20, SEP]
    assert model.encode(words, limit=5) == [CLS, *[WORDS.index("hello")] * 3, SEP]


def test_the_spec_tells_what_the_folder_says(model: OnnxEmbedder) -> None:
    spec = model.spec
    assert (spec.architecture, spec.quantization, spec.context, spec.trained_context) == ("bert", "fp32", 24, POSITIONS)
    assert (model.width, model.vocabulary, model.batched) == (WIDTH, len(WORDS), True)
    assert any(f"{WIDTH} numbers: mean pooling, normalised" in note for note in spec.notes)
    assert spec.template is None


@pytest.mark.parametrize(("asked", "context"), [(None, 24), (16, 16), (48, 48), (4096, POSITIONS)])
def test_the_context_may_be_set_as_far_as_positions_reach(written: Path, asked: int | None, context: int) -> None:
    assert load(written, LoadOptions(ctx_size=asked, threads=1)).spec.context == context


def test_positions_of_the_roberta_family_begin_behind_the_padding(folder: Path) -> None:
    edit(folder / "config.json", model_type="xlm-roberta", pad_token_id=1, max_position_embeddings=34)
    (folder / "sentence_bert_config.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884624838656}')
    assert load(folder).spec.context == 32


def test_without_a_word_on_pooling_it_is_the_usual_and_told(folder: Path) -> None:
    (folder / "modules.json").unlink()
    shutil.rmtree(folder / "1_Pooling")
    model = load(folder)
    assert any("mean pooling, normalised, as is usual" in note for note in model.spec.notes)
    np.testing.assert_allclose(np.linalg.norm(vectors(model, TEXTS), axis=-1), 1, rtol=1e-5)


def test_a_pooling_by_its_name_is_understood(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    tokens = load(folder).encode(TEXTS[1])
    np.testing.assert_allclose(
        vectors(load(folder), TEXTS[1:2])[0], unit(hidden(random_weights(), tokens)[0]), rtol=1e-3, atol=1e-4
    )


def test_text_is_lowered_where_the_folder_says_so(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    hello = WORDS.index("hello")
    assert hello not in load(folder).encode("HELLO")
    edit(folder / "sentence_bert_config.json", do_lower_case=True)
    assert hello in load(folder).encode("HELLO")


def add_output(path: Path, name: str, *, keep: bool = True) -> None:
    """Give the graph an output of the first token's vector, doubled."""
    proto = onnx.load(path)
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(0), "first"))
    proto.graph.node.append(helper.make_node("Gather", ["last_hidden_state", "first"], ["cls"], axis=1))
    proto.graph.node.append(helper.make_node("Add", ["cls", "cls"], [name]))
    proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", WIDTH]))
    if not keep:
        del proto.graph.output[0]
    onnx.save(proto, path)


def test_a_graph_that_pools_is_taken_at_its_word(folder: Path) -> None:
    add_output(folder / "onnx" / "model.onnx", "sentence_embedding")
    modules = json.loads((folder / "modules.json").read_text())[:2]
    (folder / "modules.json").write_text(json.dumps(modules))
    model = load(folder)
    expected = 2 * hidden(random_weights(), model.encode(TEXTS[0]))[0]
    np.testing.assert_allclose(vectors(model, TEXTS[:1])[0], expected, rtol=1e-3, atol=1e-4)
    assert any("pooled by the graph" in note for note in model.spec.notes)
    with pytest.raises(LoadFailed, match="pools by itself"):
        load(folder, LoadOptions(threads=1, pooling=Pooling.CLS))


def test_a_step_behind_the_graph_that_cannot_be_done_is_refused(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(LoadFailed, match="Dense"):
        load(folder)
    add_output(folder / "onnx" / "model.onnx", "sentence_embedding")
    assert load(folder).width == WIDTH


def test_other_graphs_are_refused_with_what_they_take_or_give(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    add_output(path, "scores", keep=False)
    with pytest.raises(LoadFailed, match="gives scores"):
        load(folder)
    proto = onnx.load(path)
    proto.graph.input.append(helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["b"]))
    onnx.save(proto, path)
    with pytest.raises(LoadFailed, match="pixel_values"):
        load(folder)


def test_a_graph_that_ignores_its_mask_computes_texts_one_by_one(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    proto = onnx.load(path)
    for node in proto.graph.node:
        if node.op_type == "Unsqueeze" and "attention_mask" in node.input:
            node.input[0] = "ones"
            proto.graph.node.insert(0, helper.make_node("Equal", ["input_ids", "input_ids"], ["same"]))
            proto.graph.node.insert(1, helper.make_node("Cast", ["same"], ["ones"], to=TensorProto.INT64))
            break
    onnx.save(proto, path)
    model = load(folder)
    assert not model.batched
    assert any("one by one" in note for note in model.spec.notes)
    weights = random_weights()
    for text, vector in zip(TEXTS, vectors(model, TEXTS), strict=True):
        expected = unit(hidden(weights, model.encode(text)).mean(axis=0))
        np.testing.assert_allclose(vector, expected, rtol=1e-3, atol=1e-4)


def test_integers_of_32_bits_and_fewer_inputs_will_do(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    proto = onnx.load(path)
    wide = {"input_ids": "ids_64", "attention_mask": "mask_64"}
    for node in proto.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = wide.get(name, name)
    proto.graph.node.insert(0, helper.make_node("Sub", ["ids_64", "ids_64"], ["token_type_ids"]))
    for name, made in wide.items():
        proto.graph.node.insert(0, helper.make_node("Cast", [name], [made], to=TensorProto.INT64))
    del proto.graph.input[:]
    for name in wide:
        proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.INT32, ["b", "n"]))
    onnx.save(proto, path)
    np.testing.assert_allclose(
        vectors(load(folder), TEXTS[:1])[0],
        unit(hidden(random_weights(), load(folder).encode(TEXTS[0])).mean(axis=0)),
        rtol=1e-3,
        atol=1e-4,
    )


def test_numbers_that_are_none_fail_the_pass(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    weights = random_weights()
    weights["embeddings.word_embeddings.weight"][WORDS.index("world")] = np.nan
    onnx.save(BertGraph(weights).build(), path)
    model = load(folder)
    assert len(vectors(model, ["hello"])) == 1
    with pytest.raises(EngineFailed, match="no numbers"):
        vectors(model, ["world"])


def test_a_pass_can_be_interrupted(written: Path) -> None:
    model = load(written)
    model.interrupt(True)
    with pytest.raises(Interrupted):
        vectors(model, TEXTS)
    model.interrupt(False)
    assert vectors(model, TEXTS).shape == (len(TEXTS), WIDTH)


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}'])
def test_a_damaged_list_of_modules_is_refused(folder: Path, content: str) -> None:
    (folder / "modules.json").write_text(content)
    with pytest.raises(ArtifactError, match="modules.json"):
        load(folder)


def test_a_strange_pooling_is_refused(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_median_tokens": true}')
    with pytest.raises(LoadFailed, match="median"):
        load(folder)


def test_embedders_are_told_from_decoders_and_classifiers(folder: Path) -> None:
    assert detect_folder(folder) == "onnx-embedder"
    (folder / "modules.json").unlink()
    shutil.rmtree(folder / "1_Pooling")
    assert detect_folder(folder) == "onnx-embedder"
    edit(folder / "config.json", architectures=["BertForTokenClassification"])
    assert detect_folder(folder) == "onnx"
    edit(folder / "config.json", architectures=["LlamaForCausalLM"], model_type="llama")
    assert detect_folder(folder) == "onnx"


def test_minilm_gives_the_vectors_that_numpy_computes_and_knows_what_is_alike(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    weights = read_safetensors(real_weights(MINILM) / "model.safetensors")
    model = load(minilm_folder(tmp_path_factory))
    texts = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
    made = vectors(model, texts)
    for text, vector in zip(texts, made, strict=True):
        expected = unit(hidden(weights, model.encode(text), heads=12).mean(axis=0))
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    assert (model.width, model.spec.context, model.spec.trained_context) == (384, 256, 512)
    # The similarities that the documentation of sentence-transformers prints for this model and these sentences.
    printed = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(made @ made.T, printed, atol=1e-3)
