"""BERT for tests: an ONNX graph of any weights, the same computed with numpy alone, and a folder around a small one."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

Floats = NDArray[np.float32]
Weights = Mapping[str, Floats]

HEADS, EPSILON = 4, 1e-12
WIDTH, INNER, LAYERS, POSITIONS = 32, 64, 2, 64
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "a", "cache", "token", "##s", "?", "the", "is")
PAD, UNK, CLS, SEP = range(4)
ERF = np.vectorize(math.erf, otypes=[np.float32])


def random_weights() -> dict[str, Floats]:
    """Under the names that BERT's tensors have in public repositories."""
    random = np.random.default_rng(11)

    def noise(*shape: int) -> Floats:
        return (random.standard_normal(shape) * 0.3).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": noise(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": noise(POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": noise(2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}."
        norms += [f"{prefix}attention.output.LayerNorm", f"{prefix}output.LayerNorm"]
        shapes = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        shapes |= {"attention.output.dense": (WIDTH, WIDTH)}
        shapes |= {"intermediate.dense": (INNER, WIDTH), "output.dense": (WIDTH, INNER)}
        for name, shape in shapes.items():
            made |= {f"{prefix}{name}.weight": noise(*shape), f"{prefix}{name}.bias": noise(shape[0])}
    for name in norms:
        made |= {f"{name}.weight": 1 + noise(WIDTH), f"{name}.bias": noise(WIDTH)}
    return made


def read_safetensors(path: Path) -> dict[str, Floats]:
    """All float32 tensors of a file."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__" and entry["dtype"] == "F32"}
    return {
        name: np.frombuffer(data[8 + size :][slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in tensors.items()
    }


def hidden(weights: Weights, tokens: Sequence[int], heads: int = HEADS, second: int | None = None) -> Floats:
    """Vectors of the tokens of one text, (length, width): BERT as its paper has it, step by step. From `second` on the
    tokens are of a second text."""

    def linear(x: Floats, name: str) -> Floats:
        made: Floats = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return made

    def norm(x: Floats, name: str) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        made: Floats = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return made

    x: Floats = weights["embeddings.word_embeddings.weight"][list(tokens)]
    x = x + weights["embeddings.position_embeddings.weight"][: len(tokens)]
    kinds = [int(second is not None and at >= second) for at in range(len(tokens))]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][kinds], "embeddings.LayerNorm")
    for layer in range(layers_of(weights)):
        prefix = f"encoder.layer.{layer}."
        queries, keys, values = (
            linear(x, f"{prefix}attention.self.{part}").reshape(len(tokens), heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = queries @ keys.swapaxes(1, 2) / np.sqrt(queries.shape[-1])
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (shares / shares.sum(axis=-1, keepdims=True)) @ values
        merged = mixed.swapaxes(0, 1).reshape(len(tokens), -1)
        x = norm(x + linear(merged, f"{prefix}attention.output.dense"), f"{prefix}attention.output.LayerNorm")
        inner = linear(x, f"{prefix}intermediate.dense")
        inner = inner * (1 + ERF(inner / np.sqrt(2.0))) / 2
        x = norm(x + linear(inner, f"{prefix}output.dense"), f"{prefix}output.LayerNorm")
    return x


def layers_of(weights: Weights) -> int:
    return len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})


class BertGraph:
    """Writes the graph as exporters do: input_ids, attention_mask, token_type_ids to last_hidden_state; to logits where
    the weights have a classifier (`make_classifier`)."""

    def __init__(self, weights: Weights, heads: int = HEADS) -> None:
        self._weights = weights
        self._heads = heads
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}

    def build(self) -> ModelProto:
        parts = [("word", "input_ids"), ("token_type", "token_type_ids")]
        x = self._op(
            "Add", *(self._op("Gather", self._weight(f"embeddings.{n}_embeddings.weight"), i) for n, i in parts)
        )
        length = self._op("Gather", self._op("Shape", "input_ids"), self._constant(np.int64(1)))
        zero, one = self._constant(np.int64(0)), self._constant(np.int64(1))
        indices = self._op("Range", zero, length, one)
        positions = self._op("Gather", self._weight("embeddings.position_embeddings.weight"), indices)
        x = self._norm(self._op("Add", x, positions), "embeddings.LayerNorm")
        hidden_part = self._op("Sub", one, self._op("Unsqueeze", "attention_mask", self._ints(1, 2)))
        bias = self._op("Mul", self._op("Cast", hidden_part, to=TensorProto.FLOAT), self._constant(np.float32(-1e9)))
        for layer in range(layers_of(self._weights)):
            x = self._block(x, f"encoder.layer.{layer}.", bias)
        if "classifier.weight" not in self._weights:
            self._nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
            return self._model(False)
        first = self._op("Gather", x, zero, axis=1)
        scores = self._linear(self._op("Tanh", self._linear(first, "bert.pooler.dense")), "classifier")
        self._nodes.append(helper.make_node("Identity", [scores], ["logits"]))
        return self._model(True)

    def _block(self, x: str, prefix: str, bias: str) -> str:
        width = len(self._weights[f"{prefix}attention.output.dense.bias"]) // self._heads
        queries, keys, values = (
            self._op(
                "Transpose",
                self._op(
                    "Reshape", self._linear(x, f"{prefix}attention.self.{part}"), self._ints(0, 0, self._heads, width)
                ),
                perm=[0, 2, 3, 1] if part == "key" else [0, 2, 1, 3],
            )
            for part in ("query", "key", "value")
        )
        scores = self._op("Mul", self._op("MatMul", queries, keys), self._constant(np.float32(width**-0.5)))
        shares = self._op("Softmax", self._op("Add", scores, bias), axis=-1)
        mixed = self._op("Transpose", self._op("MatMul", shares, values), perm=[0, 2, 1, 3])
        merged = self._linear(self._op("Reshape", mixed, self._ints(0, 0, -1)), f"{prefix}attention.output.dense")
        x = self._norm(self._op("Add", x, merged), f"{prefix}attention.output.LayerNorm")
        inner = self._linear(x, f"{prefix}intermediate.dense")
        erf = self._op("Erf", self._op("Div", inner, self._constant(np.float32(2**0.5))))
        lit = self._op("Mul", inner, self._op("Add", erf, self._constant(np.float32(1))))
        halved = self._op("Mul", lit, self._constant(np.float32(0.5)))
        return self._norm(
            self._op("Add", x, self._linear(halved, f"{prefix}output.dense")), f"{prefix}output.LayerNorm"
        )

    def _linear(self, x: str, name: str) -> str:
        weight = self._constant(np.ascontiguousarray(self._weights[f"{name}.weight"].T), f"{name}.weight")
        return self._op("Add", self._op("MatMul", x, weight), self._weight(f"{name}.bias"))

    def _norm(self, x: str, name: str) -> str:
        parts = (self._weight(f"{name}.weight"), self._weight(f"{name}.bias"))
        return self._op("LayerNormalization", x, *parts, axis=-1, epsilon=EPSILON)

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def _weight(self, name: str) -> str:
        return self._constant(self._weights[name], name)

    def _constant(self, value: object, name: str = "") -> str:
        array = np.asarray(value)
        name = name or f"constant_{array.dtype}_{array.tobytes().hex()}"
        self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def _ints(self, *values: int) -> str:
        return self._constant(np.asarray(values, np.int64))

    def _model(self, scores: bool) -> ModelProto:
        def info(name: str, kind: int, *shape: str | int) -> Any:
            return helper.make_tensor_value_info(name, kind, list(shape))

        inputs = [info(each, TensorProto.INT64, "b", "n") for each in ("input_ids", "attention_mask", "token_type_ids")]
        width = len(self._weights["embeddings.LayerNorm.bias"])
        outputs = [info("last_hidden_state", TensorProto.FLOAT, "b", "n", width)]
        if scores:
            outputs = [info("logits", TensorProto.FLOAT, "b", len(self._weights["classifier.bias"]))]
        graph = helper.make_graph(self._nodes, "bert", inputs, outputs, list(self._constants.values()))
        made: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return made


def write_embedder(folder: Path, *, pooling: str = "mean_tokens", normalize: bool = True, limit: int = 24) -> Path:
    """A sentence embedder of random weights, laid out as public repositories do it."""
    (folder / "onnx").mkdir(parents=True)
    save(BertGraph(random_weights()).build(), folder / "onnx" / "model.onnx")
    write_tokenizer(folder / "tokenizer.json")
    steps = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    folders = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": number, "name": str(number), "path": folder, "type": f"sentence_transformers.models.{step}"}
        for number, (step, folder) in enumerate(zip(steps, folders, strict=False))
    ]
    (folder / "1_Pooling").mkdir()
    files: dict[str, object] = {
        "config.json": {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": POSITIONS},
        "modules.json": modules,
        "1_Pooling/config.json": {"word_embedding_dimension": WIDTH, f"pooling_mode_{pooling}": True},
        "sentence_bert_config.json": {"max_seq_length": limit, "do_lower_case": False},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def make_classifier(labels: int = 1) -> dict[str, Floats]:
    """Weights of a pooler and of a classifier with so many classes; one of a single class ranks."""
    random = np.random.default_rng(5)

    def noise(*shape: int) -> Floats:
        return (random.standard_normal(shape) * 0.3).astype(np.float32)

    return {
        "bert.pooler.dense.weight": noise(WIDTH, WIDTH),
        "bert.pooler.dense.bias": noise(WIDTH),
        "classifier.weight": noise(labels, WIDTH),
        "classifier.bias": noise(labels),
    }


def classify(weights: Weights, first: Floats) -> Floats:
    """What pooler and classifier make of a text's first vector."""
    pooled = np.tanh(weights["bert.pooler.dense.weight"] @ first + weights["bert.pooler.dense.bias"])
    made: Floats = weights["classifier.weight"] @ pooled + weights["classifier.bias"]
    return made


def write_reranker(folder: Path, *, labels: int = 1, limit: int = 32) -> Path:
    """A cross-encoder of random weights, laid out as public repositories do it."""
    (folder / "onnx").mkdir(parents=True)
    save(BertGraph(random_weights() | make_classifier(labels)).build(), folder / "onnx" / "model.onnx")
    write_tokenizer(folder / "tokenizer.json")
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    names = {str(number): f"LABEL_{number}" for number in range(labels)}
    files: dict[str, object] = {
        "config.json": {**config, "id2label": names, "max_position_embeddings": POSITIONS},
        "tokenizer_config.json": {"model_max_length": limit},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def write_tokenizer(path: Path) -> None:
    made = Tokenizer(models.WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    made.add_special_tokens(list(WORDS[:5]))
    # As public repositories have them: set for training, and not what serving wants.
    made.enable_truncation(8)
    made.enable_padding(length=8)
    made.save(str(path))
