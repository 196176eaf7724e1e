"""Writes guide as an ONNX folder, laid out as public repositories do it.

    python -m core.guide.convert.onnx FOLDER

All is derived from the GGUF file. The graph is float32 and made of standard operators alone; batch and lengths are
free. GGUF's llama tensors pair neighbouring elements for rotary positions; the graph pairs the two halves of a head,
as Hugging Face does, so the rows of q and k are put in that order.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from core.guide import WEIGHTS

OPSET, IR_VERSION = 17, 9
"""Old enough for every onnxruntime that this package runs on."""
CONTROL, USER_DEFINED = 3, 4
"""GGUF's token types that are read in a text as a whole."""
FAR: Final = np.iinfo(np.int64).max
MASKED: Final = np.float32(-1e9)

Array = NDArray[np.float32]


class LlamaSource:
    """A GGUF file of the llama architecture with tied embeddings."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(path)
        self._fields = {name: field.contents() for name, field in reader.fields.items()}
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}

    def value(self, key: str) -> Any:
        """A field; `{arch}` in the key stands for the architecture."""
        return self._fields[key.format(arch=self._fields["general.architecture"])]

    def tensor(self, name: str) -> Array:
        tensor = self._tensors[name]
        return np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)

    @cached_property
    def layers(self) -> int:
        return int(self.value("{arch}.block_count"))

    @cached_property
    def heads(self) -> int:
        return int(self.value("{arch}.attention.head_count"))

    @cached_property
    def kv_heads(self) -> int:
        return int(self.value("{arch}.attention.head_count_kv"))

    @cached_property
    def head_width(self) -> int:
        return int(self.value("{arch}.attention.key_length"))

    @cached_property
    def context(self) -> int:
        return int(self.value("{arch}.context_length"))

    @cached_property
    def rope_base(self) -> float:
        return float(self.value("{arch}.rope.freq_base"))

    @cached_property
    def epsilon(self) -> float:
        return float(self.value("{arch}.attention.layer_norm_rms_epsilon"))

    def token(self, key: str) -> str | None:
        """How the token of a `tokenizer.ggml.*_token_id` is written."""
        number = self._fields.get(f"tokenizer.ggml.{key}_token_id")
        return None if number is None else str(self.value("tokenizer.ggml.tokens")[number])


class _OnnxGraph:
    """Nodes and constants under way; every method returns the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._made = 0

    def op(self, kind: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: Any) -> list[str]:
        self._made += 1
        names = [name or f"{kind.lower()}_{self._made}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def one(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        return self.op(kind, *inputs, name=name, **attributes)[0]

    def constant(self, values: object, name: str = "") -> str:
        array = np.asarray(values)
        name = name or f"{array.dtype}_{'x'.join(map(str, array.shape))}_{array.tobytes().hex()}"
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.asarray(values, np.int64))

    def linear(self, x: str, weight: Array, name: str) -> str:
        """`weight` as GGUF has it, (out, in)."""
        return self.one("MatMul", x, self.constant(np.ascontiguousarray(weight.T), name))

    def norm(self, x: str, weight: Array, epsilon: float, name: str) -> str:
        square = self.one("ReduceMean", self.one("Mul", x, x), axes=[-1], keepdims=1)
        root = self.one("Sqrt", self.one("Add", square, self.constant(np.float32(epsilon))))
        return self.one("Mul", self.one("Div", x, root), self.constant(weight, name))


def pair_halves(weight: Array, heads: int) -> Array:
    """Rows of each head from pairs of neighbours (0, 1), (2, 3) ... to pairs of halves (0, d/2), (1, d/2 + 1) ..."""
    rows, columns = weight.shape
    paired = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(paired.swapaxes(1, 2).reshape(rows, columns))


class _OnnxDecoder:
    """Builds the graph of one file."""

    def __init__(self, source: LlamaSource) -> None:
        self.source = source
        self.graph = _OnnxGraph()

    def build(self) -> ModelProto:
        source, graph = self.source, self.graph
        embedding = graph.constant(source.tensor("token_embd.weight"), "embedding")
        x = graph.one("Gather", embedding, "input_ids")
        angles = [graph.one("Unsqueeze", table, graph.ints(1)) for table in self._angles()]
        bias = self._bias()
        presents = [f"present.{layer}.{part}" for layer in range(source.layers) for part in ("key", "value")]
        for layer in range(source.layers):
            x = self._block(x, layer, angles, bias)
        x = graph.norm(x, source.tensor("output_norm.weight"), source.epsilon, "norm")
        first = graph.one("Unsqueeze", graph.one("Neg", "num_logits_to_keep"), graph.ints(0))
        x = graph.one("Slice", x, first, graph.ints(FAR), graph.ints(1))
        graph.one("MatMul", x, graph.one("Transpose", embedding, perm=[1, 0]), name="logits")
        return self._model(presents)

    def _angles(self) -> tuple[str, str]:
        """Cosines and sines of each position, twice side by side: (batch, length, head_width)."""
        width = self.source.head_width
        steps = self.source.rope_base ** -(np.arange(0, width, 2, dtype=np.float64) / width)
        table = np.outer(np.arange(self.source.context), steps)
        tables = (np.concatenate([f(table)] * 2, axis=-1).astype(np.float32) for f in (np.cos, np.sin))
        cos, sin = (
            self.graph.one("Gather", self.graph.constant(each, name), "position_ids")
            for name, each in zip(("cosines", "sines"), tables, strict=True)
        )
        return cos, sin

    def _bias(self) -> str:
        """0 where a query may look, far below it elsewhere: (batch, 1, 1, length, past + length)."""
        graph = self.graph
        length = graph.one("Gather", graph.one("Shape", "input_ids"), graph.constant(np.int64(1)))
        total = graph.one("Gather", graph.one("Shape", "attention_mask"), graph.constant(np.int64(1)))
        zero, one = graph.constant(np.int64(0)), graph.constant(np.int64(1))
        columns = graph.one("Range", zero, total, one)
        rows = graph.one("Range", graph.one("Sub", total, length), total, one)
        causal = graph.one("LessOrEqual", columns, graph.one("Unsqueeze", rows, graph.ints(1)))
        kept = graph.one("Cast", "attention_mask", to=TensorProto.BOOL)
        seen = graph.one("And", graph.one("Unsqueeze", kept, graph.ints(1, 2, 3)), causal)
        return graph.one("Where", seen, graph.constant(np.float32(0)), graph.constant(MASKED))

    def _block(self, x: str, layer: int, angles: Sequence[str], bias: str) -> str:
        graph, source, prefix = self.graph, self.source, f"blk.{layer}."
        normed = graph.norm(x, source.tensor(f"{prefix}attn_norm.weight"), source.epsilon, f"{prefix}attn_norm")
        x = graph.one("Add", x, self._attention(normed, layer, angles, bias))
        normed = graph.norm(x, source.tensor(f"{prefix}ffn_norm.weight"), source.epsilon, f"{prefix}ffn_norm")
        gate, up = (self._linear(normed, f"{prefix}ffn_{part}") for part in ("gate", "up"))
        lit = graph.one("Mul", gate, graph.one("Sigmoid", gate))
        return graph.one("Add", x, self._linear(graph.one("Mul", lit, up), f"{prefix}ffn_down"))

    def _linear(self, x: str, name: str) -> str:
        return self.graph.linear(x, self.source.tensor(f"{name}.weight"), name)

    def _attention(self, x: str, layer: int, angles: Sequence[str], bias: str) -> str:
        graph, source, prefix = self.graph, self.source, f"blk.{layer}.attn_"
        kv, width = source.kv_heads, source.head_width
        share = source.heads // kv
        queries, keys = (
            self._rotated(
                graph.linear(x, pair_halves(source.tensor(f"{prefix}{part}.weight"), heads), f"{prefix}{part}"),
                heads,
                angles,
            )
            for part, heads in (("q", source.heads), ("k", kv))
        )
        values = self._split(self._linear(x, f"{prefix}v"), kv)
        keys, values = (
            graph.one("Concat", f"past_key_values.{layer}.{part}", new, axis=2, name=f"present.{layer}.{part}")
            for part, new in (("key", keys), ("value", values))
        )
        # The query heads of a key-value head lie side by side: their rows are multiplied as one matrix.
        shape = graph.one("Shape", queries)
        length = graph.one("Slice", shape, graph.ints(2), graph.ints(3))
        grouped = graph.one("Reshape", queries, graph.ints(0, kv, -1, width))
        scores = graph.one("MatMul", grouped, graph.one("Transpose", keys, perm=[0, 1, 3, 2]))
        scores = graph.one("Mul", scores, graph.constant(np.float32(width**-0.5)))
        apart = graph.one("Concat", graph.ints(0, kv, share), length, graph.ints(-1), axis=0)
        weights = graph.one("Softmax", graph.one("Add", graph.one("Reshape", scores, apart), bias), axis=-1)
        together = graph.one("Concat", graph.ints(0, kv), self._rows(length, share), graph.ints(-1), axis=0)
        mixed = graph.one("MatMul", graph.one("Reshape", weights, together), values)
        mixed = graph.one(
            "Reshape", mixed, graph.one("Concat", graph.ints(0, kv * share), length, graph.ints(-1), axis=0)
        )
        merged = graph.one("Transpose", mixed, perm=[0, 2, 1, 3])
        return self._linear(graph.one("Reshape", merged, graph.ints(0, 0, -1)), f"{prefix}output")

    def _rows(self, length: str, share: int) -> str:
        return self.graph.one("Mul", length, self.graph.ints(share))

    def _split(self, x: str, heads: int) -> str:
        """(batch, length, heads * width) to (batch, heads, length, width)."""
        apart = self.graph.one("Reshape", x, self.graph.ints(0, 0, heads, self.source.head_width))
        return self.graph.one("Transpose", apart, perm=[0, 2, 1, 3])

    def _rotated(self, x: str, heads: int, angles: Sequence[str]) -> str:
        graph, half = self.graph, self.source.head_width // 2
        split = self._split(x, heads)
        first, second = graph.op("Split", split, graph.ints(half, half), outputs=2, axis=-1)
        turned = graph.one("Concat", graph.one("Neg", second), first, axis=-1)
        cos, sin = angles
        return graph.one("Add", graph.one("Mul", split, cos), graph.one("Mul", turned, sin))

    def _model(self, presents: Sequence[str]) -> ModelProto:
        source = self.source

        def info(name: str, kind: int, shape: Sequence[str | int]) -> Any:
            return helper.make_tensor_value_info(name, kind, list(shape))

        def cache(names: Sequence[str], length: str) -> list[Any]:
            shape = ("batch", source.kv_heads, length, source.head_width)
            return [info(name, TensorProto.FLOAT, shape) for name in names]

        inputs = [
            info("input_ids", TensorProto.INT64, ("batch", "length")),
            info("attention_mask", TensorProto.INT64, ("batch", "total")),
            info("position_ids", TensorProto.INT64, ("batch", "length")),
            info("num_logits_to_keep", TensorProto.INT64, ()),
            *cache([name.replace("present", "past_key_values") for name in presents], "past"),
        ]
        vocabulary = len(source.value("tokenizer.ggml.tokens"))
        logits = info("logits", TensorProto.FLOAT, ("batch", "kept", vocabulary))
        graph = helper.make_graph(
            self.graph.nodes,
            str(source.value("general.name")),
            inputs,
            [logits, *cache(presents, "total")],
            list(self.graph.constants.values()),
        )
        made: ModelProto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="benchtop"
        )
        return made


def build_tokenizer(source: LlamaSource) -> Tokenizer:
    """Byte-level BPE with the vocabulary and merges of the file."""
    tokens, kinds = source.value("tokenizer.ggml.tokens"), source.value("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ", 1)) for merge in source.value("tokenizer.ggml.merges")]
    made = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, kinds, strict=True):
        if kind in (CONTROL, USER_DEFINED):
            made.add_tokens([AddedToken(token, special=kind == CONTROL, normalized=False)])
    return made


def write_model(folder: Path, source: Path = WEIGHTS) -> Path:
    """Write the model into `folder`, which is made where it is not there; returns it."""
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    file = LlamaSource(source)
    save(_OnnxDecoder(file).build(), folder / "onnx" / "model.onnx")
    build_tokenizer(file).save(str(folder / "tokenizer.json"))
    end = file.value("tokenizer.ggml.eos_token_id")
    _write_json(folder / "config.json", _config(file))
    _write_json(folder / "generation_config.json", {"eos_token_id": [end]})
    _write_json(folder / "tokenizer_config.json", {"eos_token": file.token("eos"), "pad_token": file.token("padding")})
    (folder / "chat_template.jinja").write_text(file.value("tokenizer.chat_template"), encoding="utf-8")
    return folder


def _config(source: LlamaSource) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(source.value("tokenizer.ggml.tokens")),
        "hidden_size": int(source.value("{arch}.embedding_length")),
        "intermediate_size": int(source.value("{arch}.feed_forward_length")),
        "num_hidden_layers": source.layers,
        "num_attention_heads": source.heads,
        "num_key_value_heads": source.kv_heads,
        "head_dim": source.head_width,
        "max_position_embeddings": source.context,
        "rope_theta": source.rope_base,
        "rms_norm_eps": source.epsilon,
        "tie_word_embeddings": True,
        "eos_token_id": int(source.value("tokenizer.ggml.eos_token_id")),
    }


def _write_json(path: Path, values: dict[str, object]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    print(write_model(Path(sys.argv[1])))
