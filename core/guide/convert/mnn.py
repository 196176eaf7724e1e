"""Writes guide, from its GGUF file, as a folder that MNN's LLM runtime loads.

    python -m core.guide.convert.mnn FOLDER

The graph is written in the JSON form of MNN's schema (schema/default/*.fbs of https://github.com/alibaba/MNN), and the
converter that comes with the package MNN packs it. Its inputs, its output and its `Attention` operator, which holds the
KV cache, are those of transformers/llm/export there. The weights lie beside the graph as they are, in f16; so do the
embeddings, which are the weights of the last layer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import gguf
import numpy as np
import numpy.typing as npt

from core.guide import WEIGHTS
from core.guide.convert.mlx import LlamaHeader, unpermute_rows, write_tokenizer
from core.last_words import find_decisive_line

GRAPH, VALUES, TOKENIZER = "llm.mnn", "llm.mnn.weight", "tokenizer.txt"
F16_TYPE: Final = 3
"""MNN's type of weights that are halves."""
FAR_INDEX: Final = 1 << 30
"""Where a slice ends that goes on to the end."""
CONVERTER_SECONDS: Final = 60.0
"""Seconds the converter may take for what takes it a fraction of one."""
MAGIC, BYTE_LEVEL = 430, 3
"""What a tokenizer.txt begins with, and its code for byte-level BPE."""

Op = dict[str, Any]
"""An operator in MNN's JSON."""
Array = npt.NDArray[Any]


class _MnnGraph:
    """Operators and their tensors under way; every method returns the index of the tensor it made."""

    def __init__(self, values: BinaryIO) -> None:
        self.ops: list[Op] = []
        self.names: list[str] = []
        self._values = values

    def op(self, kind: str, *inputs: int, name: str = "", main: str = "NONE", outputs: int = 1, **fields: Any) -> int:
        first = len(self.names)
        label = name or f"{kind}_{first}"
        self.names += [label, *(f"{label}_{index}" for index in range(1, outputs))]
        made: Op = {
            "name": label,
            "type": kind,
            "inputIndexes": list(inputs),
            "outputIndexes": list(range(first, first + outputs)),
            "main_type": main,
            "defaultDimentionFormat": "NHWC",
        }
        if main != "NONE":
            made["main"] = fields
        self.ops.append(made)
        return first

    def input(self, name: str, kind: str, *dims: int) -> int:
        return self.op("Input", name=name, main="Input", dims=list(dims), dtype=kind, dformat="NCHW")

    def ints(self, *values: int) -> int:
        fields: Op = {"dims": [len(values)], "dataFormat": "NCHW", "dataType": "DT_INT32", "int32s": list(values)}
        return self.op("Const", main="Blob", **fields)

    def floats(self, values: Array) -> int:
        """A constant that is the last axis of four."""
        fields: Op = {"dims": [1, 1, 1, len(values)], "dataFormat": "NCHW", "dataType": "DT_FLOAT"}
        return self.op("Const", main="Blob", **fields, float32s=[float(value) for value in values])

    def binary(self, kind: str, left: int, right: int) -> int:
        return self.op("BinaryOp", left, right, main="BinaryOp", opType=kind, T="DT_FLOAT", activationType=0)

    def unary(self, kind: str, x: int) -> int:
        return self.op("UnaryOp", x, main="UnaryOp", opType=kind, T="DT_FLOAT")

    def reshape(self, x: int, *dims: int, name: str = "") -> int:
        return self.op("Reshape", x, name=name, main="Reshape", dims=list(dims), dimType="NCHW")

    def convert(self, x: int, source: str, dest: str) -> int:
        return self.op("ConvertTensor", x, main="TensorConvertInfo", source=source, dest=dest)

    def norm(self, x: int, weight: Array, epsilon: float) -> int:
        """Root mean square over the last axis."""
        gamma = [float(value) for value in weight]
        fields: Op = {"axis": [-1], "epsilon": epsilon, "group": 1, "useRMSNorm": True}
        return self.op("LayerNorm", x, main="LayerNorm", gamma=gamma, beta=[0.0] * len(gamma), **fields)

    def linear(self, x: int, weight: Array, name: str) -> int:
        """`weight` as GGUF has it, (out, in): a convolution over one pixel, as MNN multiplies matrices."""
        rows, columns = weight.shape
        once = dict.fromkeys(("kernelX", "kernelY", "strideX", "strideY", "dilateX", "dilateY", "group"), 1)
        common = {**once, "padX": 0, "padY": 0, "padMode": "CAFFE", "relu": False, "relu6": False}
        pixels = self.convert(self.reshape(x, -1, columns, 1, 1), "NCHW", "NC4HW4")
        made = self.op(
            "Convolution",
            pixels,
            name=f"{name}/conv",
            main="Convolution2D",
            common={**common, "outputCount": rows, "inputCount": columns, "hasOutputShape": False},
            quanParameter={"type": F16_TYPE},
            external=[self._values.tell(), self._values.write(weight.astype(np.float16).tobytes()), 0, 0, 0],
        )
        return self.reshape(self.convert(made, "NC4HW4", "NCHW"), 1, -1, rows, name=name)

    @property
    def index(self) -> int:
        """Where among the values the next ones will lie."""
        return self._values.tell()

    def json(self) -> str:
        """The graph, whose output is the tensor made last."""
        fields: Op = {"sourceType": "ONNX", "preferForwardType": "CPU", "usage": "INFERENCE", "tensorNumber": 0}
        return json.dumps(
            {"oplists": self.ops, "tensorName": self.names, "outputName": [self.names[-1]], "bizCode": "", **fields}
        )


class _MnnDecoder:
    """Builds the graph of one file of llama architecture with tied embeddings."""

    def __init__(self, reader: gguf.GGUFReader, graph: _MnnGraph) -> None:
        header = LlamaHeader(reader)
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._graph = graph
        self._width = int(header.llama("embedding_length"))
        self._head = int(header.llama("attention.key_length"))
        self._heads = int(header.llama("attention.head_count"))
        self._kv_heads = int(header.llama("attention.head_count_kv"))
        self._layers = int(header.llama("block_count"))
        self._epsilon = float(header.llama("attention.layer_norm_rms_epsilon"))
        self._base = float(header.llama("rope.freq_base"))

    def build(self) -> int:
        """Returns where among the values the embeddings lie."""
        graph = self._graph
        x = graph.reshape(graph.input("input_ids", "DT_FLOAT", -1, 1, self._width), 1, -1, self._width)
        mask = graph.input("attention_mask", "DT_FLOAT", 1, 1, -1, -1)
        angles = self._angles(graph.input("position_ids", "DT_INT32", 1, -1))
        index = graph.input("logits_index", "DT_INT32", 1)
        for layer in range(self._layers):
            x = self._block(x, layer, mask, angles)
        # Begins at the index, -1 or 0: the last token alone, or all of them.
        fields: Op = {
            "beginMask": 0,
            "endMask": 0,
            "ellipsisMask": 0,
            "newAxisMask": 0,
            "shrinkAxisMask": 0,
            "fromType": 1,
        }
        ends = graph.ints(FAR_INDEX), graph.ints(1)
        x = graph.op("StridedSlice", x, index, *ends, main="StridedSliceParam", **fields)
        x = graph.norm(x, self._tensor("output_norm"), self._epsilon)
        index = graph.index
        graph.linear(x, self._tensor("token_embd"), "logits")
        return index

    def _angles(self, positions: int) -> tuple[int, int]:
        """Cosines and sines, (1, length, 1, head), for pairs of halves."""
        graph = self._graph
        steps = self._base ** -(np.arange(0, self._head, 2, dtype=np.float64) / self._head)
        numbers = graph.op(
            "Cast", graph.reshape(positions, 1, -1, 1, 1), main="CastParam", srcT="DT_INT32", dstT="DT_FLOAT"
        )
        angles = graph.binary("MUL", numbers, graph.floats(np.concatenate([steps, steps])))
        return graph.unary("COS", angles), graph.unary("SIN", angles)

    def _block(self, x: int, layer: int, mask: int, angles: tuple[int, int]) -> int:
        graph, prefix = self._graph, f"blk.{layer}."
        normed = graph.norm(x, self._tensor(f"{prefix}attn_norm"), self._epsilon)
        x = graph.binary("ADD", x, self._attention(normed, layer, mask, angles))
        normed = graph.norm(x, self._tensor(f"{prefix}ffn_norm"), self._epsilon)
        gate, up = (self._linear(normed, f"{prefix}ffn_{part}") for part in ("gate", "up"))
        return graph.binary(
            "ADD", x, self._linear(graph.binary("MUL", graph.unary("SILU", gate), up), f"{prefix}ffn_down")
        )

    def _attention(self, x: int, layer: int, mask: int, angles: tuple[int, int]) -> int:
        graph, prefix = self._graph, f"blk.{layer}.attn_"
        queries, keys = (
            self._rotated(
                graph.linear(x, unpermute_rows(self._tensor(f"{prefix}{part}"), heads), f"{prefix}{part}"),
                heads,
                angles,
            )
            for part, heads in (("q", self._heads), ("k", self._kv_heads))
        )
        values = graph.reshape(self._linear(x, f"{prefix}v"), 1, -1, self._kv_heads, self._head)
        mixed = graph.op(
            "Attention", queries, keys, values, mask, name=f"{prefix}mix", main="AttentionParam", kv_cache=True
        )
        return self._linear(mixed, f"{prefix}output")

    def _rotated(self, x: int, heads: int, angles: tuple[int, int]) -> int:
        graph, half = self._graph, self._head // 2
        split = graph.reshape(x, 1, -1, heads, self._head)
        first = graph.op("Slice", split, graph.ints(half, half), main="Slice", outputs=2, axis=-1, sourceType="TORCH")
        turned = graph.op("Concat", graph.unary("NEG", first + 1), first, main="Axis", axis=-1)
        cos, sin = angles
        return graph.binary("ADD", graph.binary("MUL", split, cos), graph.binary("MUL", turned, sin))

    def _linear(self, x: int, name: str) -> int:
        return self._graph.linear(x, self._tensor(name), name)

    def _tensor(self, name: str) -> Array:
        tensor = self._tensors[f"{name}.weight"]
        return np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32)


def write_model(folder: Path, source: Path = WEIGHTS) -> Path:
    """Write graph, weights, both configurations, the tokenizer and the same as tokenizer.json; returns `folder`.

    Raises ValueError when `source` is not of llama architecture with a byte-level BPE vocabulary and tied embeddings,
    OSError when the converter fails.
    """
    reader = gguf.GGUFReader(source)
    header = LlamaHeader(reader)
    if header.get("general.architecture") != "llama" or header.get("tokenizer.ggml.model") != "gpt2":
        raise ValueError(f"{source} is not a llama model with a byte-level BPE vocabulary.")
    if any(tensor.name == "output.weight" for tensor in reader.tensors):
        raise ValueError(f"{source} has an output layer of its own; only tied embeddings can be written.")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / VALUES).open("wb") as values:
        graph = _MnnGraph(values)
        embeddings = _MnnDecoder(reader, graph).build()
    _pack(graph.json(), folder / GRAPH)
    _write_json(folder / "config.json", build_config())
    _write_json(folder / "llm_config.json", build_llm_config(header, embeddings, (folder / VALUES).stat().st_size))
    (folder / TOKENIZER).write_text(format_tokenizer(header), "utf-8")
    write_tokenizer(folder / "tokenizer.json", header)
    return folder


def build_config() -> dict[str, Any]:
    """How to run it: on the processor, in single precision."""
    return {
        "llm_model": GRAPH,
        "llm_weight": VALUES,
        "tokenizer_file": TOKENIZER,
        "backend_type": "cpu",
        "thread_num": 4,
        "precision": "high",
        "memory": "high",
        "sampler_type": "greedy",
    }


def build_llm_config(header: LlamaHeader, embeddings: int, end: int) -> dict[str, Any]:
    """What the model is. `embeddings` is where they lie among the weights, which have `end` bytes."""
    tokens = header.get("tokenizer.ggml.tokens")
    kv_heads, width = header.llama("attention.head_count_kv"), header.llama("attention.key_length")
    return {
        "model_type": "llama",
        "hidden_size": header.llama("embedding_length"),
        "layer_nums": header.llama("block_count"),
        "attention_mask": "float",
        "attention_type": "full",
        "key_value_shape": [2, 1, 0, kv_heads, width],
        "max_position_embeddings": header.llama("context_length"),
        "tie_embeddings": [embeddings, end, 0, 16, 0],
        "jinja": {
            "chat_template": header.get("tokenizer.chat_template"),
            "eos": tokens[header.get("tokenizer.ggml.eos_token_id")],
        },
    }


def format_tokenizer(header: LlamaHeader) -> str:
    """MNN's tokenizer.txt: a magic and a kind, control tokens and those that end a turn, vocabulary, merges."""
    tokens, merges = header.get("tokenizer.ggml.tokens"), header.get("tokenizer.ggml.merges")
    kinds = header.get("tokenizer.ggml.token_type")
    controls = [token for token, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL]
    ends = [header.get("tokenizer.ggml.eos_token_id")]
    lines = [
        f"{MAGIC} {BYTE_LEVEL}",
        f"{len(controls)} {len(ends)} 0",
        " ".join(str(token) for token in (*controls, *ends)),
        f"{len(tokens)} {len(merges)}",
        *tokens,
        *merges,
    ]
    return "\n".join(lines) + "\n"


def _pack(graph: str, path: Path) -> None:
    """Have MNN pack its JSON, in a process of its own: native code that fails may take its process with it.

    The module is called by itself, since the script around it (MNN.tools) installs and feeds a usage logger.
    """
    source = path.with_suffix(".json")
    source.write_text(graph, "utf-8")
    code = "import sys, _tools; _tools.mnnconvert(sys.argv)"
    arguments = ("-f", "JSON", "--modelFile", str(source), "--MNNModel", str(path))
    command = [sys.executable, "-P", "-c", code, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, text=True, errors="replace", timeout=CONVERTER_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"MNN's converter hung for {CONVERTER_SECONDS:.0f} s.") from error
    if done.returncode or not path.is_file():
        said = find_decisive_line(f"{done.stdout}\n{done.stderr}")
        raise OSError(f"MNN's converter failed with exit code {done.returncode}{f' ({said})' if said else ''}")
    source.unlink()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m core.guide.convert.mnn", description="Write guide as an MNN folder."
    )
    parser.add_argument("folder", type=Path)
    print(write_model(parser.parse_args().folder))


if __name__ == "__main__":
    main()
